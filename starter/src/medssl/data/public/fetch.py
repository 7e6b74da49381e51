"""`medssl data get`: licence first, then room on the disk, then the official route; what broke off goes on later."""

import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from medssl.data.medmnist import PATIENCE, data_root
from medssl.data.public import SETS, PublicSet, at_hand, has, place
from medssl.errors import MedsslError

TRIES = 5  # a server that breaks off is asked again for the rest


def get(key: str, root: str | Path | None = None, say=print) -> Path:
    """Have the set at hand, and return its folder. `say` is told licence and size before anything is fetched."""
    about = SETS[key]
    say(f"{about.title}: {about.images}.\nLicence: {about.licence}\nSource: {about.page}\nPlease cite: {about.cite}")
    if about.note:
        say(f"Note: {about.note}")
    if at_hand(key, root):
        return place(key, root)
    folder = place(key, root) if place(key, root).is_dir() else data_root(root) / key
    say(f"To fetch: {about.gb:g} GB, about; room needed: {about.disk_gb:g} GB, in {folder}")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())  # made once something comes
    free = shutil.disk_usage(there).free / 1e9
    if free < about.disk_gb:
        raise MedsslError(f"{folder} has {free:.1f} GB free.", f"{about.disk_gb:g} GB for {key}",
                          "Make room, or name another folder: --root.")
    {"http": _http, "kaggle": _kaggle, "synapse": _synapse}[about.route](about, folder)
    if missing := [need for need in about.needs if not has(folder, need)]:
        raise MedsslError(f"{folder} still lacks {', '.join(missing)}.", "all files of the set", about.by_hand)
    return folder


def _http(about: PublicSet, folder: Path) -> None:
    for file in about.files:
        done = folder / f".{file.name}.done"
        if not done.exists():
            unpack(fetch(file.url, folder / file.name, file.md5), folder)
            done.touch()


def _kaggle(about: PublicSet, folder: Path) -> None:
    kind, name = about.source.split("/", 1)
    _run(["kaggle", kind, "download", "-c" if kind == "competitions" else "-d", name, "-p", str(folder)], folder, about,
         "Make an account on kaggle.com, `pip install kaggle`, put a token (Settings, API) into ~/.kaggle/kaggle.json. "
         "Or by hand: ")
    unpack(folder / f"{name.split('/')[-1]}.zip", folder)


def _synapse(about: PublicSet, folder: Path) -> None:
    _run(["synapse", "get", "-r", about.source, "--downloadLocation", str(folder)], folder, about, "")
    for archive in sorted(path for path in folder.rglob("*") if path.name.endswith((".zip", ".tar", ".tar.gz"))):
        unpack(archive, archive.parent)


def _run(command: list[str], folder: Path, about: PublicSet, account: str) -> None:
    """Another program fetches: it knows the user's account, and this one need not. It goes on where it broke off."""
    by_hand = f"{account}{about.by_hand} See {about.page}"
    if shutil.which(command[0]) is None:
        raise MedsslError(f"The command {command[0]} is not installed.", "the program of the official route", by_hand)
    folder.mkdir(parents=True, exist_ok=True)
    if code := subprocess.run(command).returncode:
        raise MedsslError(f"`{' '.join(command)}` failed (code {code}); its own words are above.",
                          "an account that has accepted the terms", by_hand)


def fetch(url: str, path: Path, md5: str = "") -> Path:
    """The file behind the url. PATH.part is what is here of it, and not asked for again; PATH has the right MD5."""
    part = path.with_name(path.name + ".part")
    here = path if path.is_file() else _rest(url, part, path)
    with open(here, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 and found != md5:
        part.unlink(missing_ok=True)
        raise MedsslError(f"{path.name} from {url} is another file than the published one (MD5 {found}).", f"MD5 {md5}",
                          f"{f'Move {path} away' if here == path else 'The download was deleted'}; run this again.")
    os.replace(here, path)
    return path


def _rest(url: str, part: Path, path: Path) -> Path:
    """What `part` still lacks is asked for, up to TRIES times."""
    why, reached = "", False
    for _ in range(TRIES):
        have = part.stat().st_size if part.is_file() else 0
        try:
            with urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=PATIENCE) as answer:
                reached = True
                part.parent.mkdir(parents=True, exist_ok=True)
                span = answer.headers["Content-Range"] or ""
                goes_on = answer.status == 206 and span.startswith(f"bytes {have}-")
                length = span.rpartition("/")[2] if goes_on else answer.headers["Content-Length"] or ""
                total = int(length) if length.isdigit() else None
                with open(part, "ab" if goes_on else "wb") as out, tqdm(
                        total=total, initial=have * goes_on, unit="B", unit_scale=True, desc=path.name) as bar:
                    while block := answer.read(1 << 20):
                        out.write(block)
                        bar.update(len(block))
            if total in (None, part.stat().st_size):
                return part
            why = f"{part.stat().st_size:,} of {total:,} bytes"
        except HTTPError as error:
            if error.code == 416 and have:  # nothing is left to send; the MD5 says if it is right
                return part
            raise MedsslError(f"{url} answers: {error.code} {error.reason}.", "the file",
                              f"Save it in the browser as {path}, and run this again.") from error
        except (OSError, HTTPException) as error:  # no network, a connection lost, a server that is silent
            why = str(error.reason if isinstance(error, URLError) else error)
    if not reached:
        raise MedsslError(f"No network, or {urlsplit(url).netloc} does not answer ({why}).", f"to reach {url}",
                          f"Run this again when it can be reached. Or bring the file as {path}.")
    raise MedsslError(f"{path.name} broke off ({why}).", "the whole file",
                      f"Run this again: it goes on after what is there. Or save {url} as {path}.")


def unpack(path: Path, folder: Path) -> None:
    """.tar, .tar.gz, .zip into the folder, .h5.gz beside itself; then the archive goes. No path may lead out."""
    try:
        if path.name.endswith((".tar", ".tar.gz")):
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        else:
            part = path.with_suffix(".part")
            with gzip.open(path) as packed, open(part, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
            os.replace(part, path.with_suffix(""))
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise MedsslError(f"{path} cannot be unpacked ({error}).", "a whole archive",
                          "Move it away, and run this again.") from error
    path.unlink()

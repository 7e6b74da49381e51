"""What a hostile hand-in can hold: contents for any file, values for any field of a JSON, names."""

import copy
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

MARK = "pwned"  # where it shows up unescaped, something got through

VALUES = [None, [], {}, "", "x" * 5000, -1, 1e308, 10**400, float("nan"), float("inf"), True, [[[[]]]],
          {"a": {"b": None}},
          f"<script>{MARK}()</script>", "=cmd|' /C calc'!A0", "../../../etc/passwd", "\u202egnp.exe", "\x00\x1b[31m",
          [None] * 300,
          "0.5", "NaN", {"": ""}, [1, "a", None], -0.0, 5e-324, "1" * 400, {"__class__": "os.system"}, b"".decode(),
          ["0.5"] * 3, {"0": 0.5, "1": [0.5]}, [{}], [[0, 1], [2, 3]], [[1e308, 1e308], [1e308, 1e308]], "9" * 5000]

NAMES = [f"<script>{MARK}(1)</script>".replace("/", "\u2215"), f"<img src=x onerror={MARK}()>.png",
         f'"onmouseover="{MARK}()',
         f"';{MARK}('", "new\nline.json", "tab\there.md", "$(touch pwned).png", "`id`.md", "; rm -rf ~ #.json",
         "a&b|c>d.csv",
         "=1+1.json", "+1.md", "-rf", "@SUM(1)", "\u202egnp.cod.md", "zero\u200bwidth.json", "e\u0301.png",
         "\u00e9.png", "x" * 255,
         "\U0001f600.md", " leading.md", "trailing .md", "...", "..json", "~", "*", "?.png", "[a-z].json", "{name}.md",
         "{dataset}", "%s%n.json", "%00.png", "CON", "aux.json", "a\\b.json", "C:\\x.json", "file:\u2215\u2215etc",
         "javascript:" + MARK,
         "metrics_{0}.json", "\x01\x02.md", "\x7f.csv", "README_week1.md\n", "test_metrics.json ", ".test_metrics.json",
         "test_metrics.json.json", "TEST_METRICS.JSON", "../x".replace("/", "\u2044"), "']].md", "${jndi:ldap}",
         "--html=x.html",
         "|calc", "{{7*7}}.md", "{% include x %}.md", "]]>.md", "-->.md", "<!--.md", "\ufeffbom.json",
         "a" * 120 + "\u00e4" * 60]


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def png_of(width: int, height: int, body: bytes = bytes(1000)) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def text_chunk_bomb() -> bytes:
    """A PNG of one pixel whose comment unpacks to 100 MB."""
    body = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    small = png_of(1, 1, b"\0\0")
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return small[:33] + chunk + small[33:]


def zip_bomb(size: int = 200_000_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("y.npy", "w",
                                                                                     force_zip64=True) as f:
        for _ in range(size // 10_000_000):
            f.write(bytes(10_000_000))
        archive.comment = b"bomb"
    return buffer.getvalue()


def images() -> dict[str, bytes]:
    buffer, moving, photo = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(buffer, "PNG")
    frames = [Image.new("P", (20, 20), k) for k in range(5)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[270] = "x" * 60_000
    Image.new("RGB", (30, 30)).save(photo, "JPEG", exif=exif)
    animated = io.BytesIO()
    frames[0].convert("RGB").save(animated, "PNG", save_all=True, append_images=[f.convert("RGB") for f in frames[1:]])
    return {"black": buffer.getvalue(), "gif": moving.getvalue(), "exif": photo.getvalue(), "apng": animated.getvalue(),
            "huge": png_of(60_000, 60_000), "wide": png_of(29_000_000, 1), "flat": png_of(5000, 5000),
            "none": png_of(0, 0), "negative": png_of(2**31, 2**31), "text bomb": text_chunk_bomb(),
            "cut": buffer.getvalue()[:-20], "head": b"\x89PNG\r\n\x1a\n", "svg": f"<svg onload={MARK}()>".encode(),
            "tiff": b"II*\0" + bytes(100), "bmp": b"BM" + bytes(50), "jpeg": b"\xff\xd8\xff\xe0" + bytes(200),
            "eps": b"%!PS-Adobe-3.0 EPSF\n%%BoundingBox: 0 0 9999999 9999999\n(" + b"(" * 1000}


def texts() -> dict[str, str]:
    n = 190_000
    return {"pipes": "|" * n, "stars": "*" * n, "ticks": "`" * n, "brackets": "[" * n, "links": "[a](" * (n // 4),
            "images": "![" * (n // 2), "comment": "<!--" * (n // 4), "markers": "<!-- medssl:results -->" * 8000,
            "half marker": "<!-- medssl:" + "a" * n, "heads": "# " * (n // 2), "hashes": "#" * n,
            "quotes": "> " * (n // 2),
            "dashes": "-" * n, "dash rows": "|---" * (n // 4), "rows": "| a | b |\n" * 18_000, "digits": "9" * n,
            "points": "0." * (n // 2), "numbers": "0.5 " * (n // 4), "percent": "84 %" * (n // 4), "spaces": " " * n,
            "tabs": "\t" * n, "new lines": "\n" * n, "arrows": "0.9 -> 0.8 " * (n // 11),
            "equals": "AUROC = " * (n // 8),
            "words": "accuracy " * (n // 9), "claims": "AUROC = 0.9, " * (n // 13), "a line": "a" * n,
            "plus minus": "0.8 ± 0.1 " * (n // 10), "TN": "TN=1, FP=2, FN=3, TP=4; " * (n // 24),
            "fence": "```json\n" * (n // 8),
            "fenced": "```json\n" + "[" * 50_000 + "\n```", "latex": "$" * n, "entities": "&lt;" * (n // 4),
            "html": "<marquee>" * (n // 9),
            "script": f"<script>{MARK}()</script>\n" * 100, "link out": f"[x](javascript:{MARK}())\n![y](/etc/passwd)",
            "names": "file.png " * (n // 9), "paths": "../../etc/passwd.png\n" * 500, "underscore": "_" * n,
            "slashes": "/" * n,
            "to": "from 0.1 to 0.2 " * (n // 16), "dots": "." * n, "commas": "," * n,
            "epochs": "30 epochs " * (n // 10),
            "parens": "(" * n, "long word": "ssl_" * (n // 4) + ".json", "seeds": "seed " * (n // 5),
            "todo": "TODO " * (n // 5),
            "unicode": "\u202e\u200b\u0301" * (n // 6), "matrix": "[[1, 2], [3, 4]] " * (n // 17), "colons": ":" * n,
            "terminal": "\x1b[31mred\x07\x08 " * 500,
            "wide table": "|a" * 3000 + "|\n" + "|---" * 3000 + "|\n" + "|1" * 3000 + "|\n",
            "csv of many columns": ",".join(map(str, range(30_000))) + "\n" + ",".join("1" * 30_000),
            "csv of many rows": "seed,index,y_true,p\n" + "0,1,1,0.5\n" * 18_000, "csv quote": '"' + "a,b\n" * 40_000,
            "csv head": "seed,index,y_true,p\n",
            "csv strange": "seed,index,y_true,p\n0,0,1,1e400\n-5,9999999999999999999,2,0x1p3\n",
            "csv text": "seed,index,y_true,p\na,b,c,d\n", "csv seeds": "seed,index,y_true,p\n" + "".join(
                f"{k},0,1,0.5\n" for k in range(12_000)), "epoch,loss": "epoch,loss\n" + "nan,inf\n" * 9000,
            "csv loss": "epoch,loss\n1,\n,\nx,y\n1e999,-1e999\n",
            "csv gallery": "index,y_true,p,predicted\n-1,5,nan,x\n,,,\n"}


def jsons() -> dict[str, str]:
    deep, cells = 100_000, [{"cell_type": "code", "source": [f"<script>{MARK}()</script>"], "outputs": [
        {"output_type": "display_data", "data": {"text/html": f"<script>{MARK}()</script>"}}]}]
    return {"deep list": "[" * deep, "deep dict": '{"a":' * deep, "deep closed": "[" * deep + "]" * deep,
            "deep 30": "[" * 30 + "]" * 30,
            "long number": "1" * 100_000, "long float": "0." + "1" * 100_000, "exponent": "1e999999999",
            "minus": "-" * 1000,
            "long key": json.dumps({"k" * 150_000: 1}), "many keys": json.dumps({f"k{i}": i for i in range(20_000)}),
            "same key": "{" + ",".join('"a":1' for _ in range(20_000)) + "}",
            "nan": '{"accuracy": NaN, "auroc": -Infinity}',
            "number": "3", "string": '"x"', "null": "null", "true": "true", "empty list": "[]", "empty": "{}",
            "many blocks": json.dumps({f"b{i}": {"acc": 0.5, "auroc": 0.5, "ece": 0.1} for i in range(3000)}),
            "list of blocks": json.dumps([{"acc": 0.5}] * 9000), "surrogate": '{"a": "\\ud800"}',
            "null byte": '{"a": "\\u0000"}',
            "bom": "\ufeff{}", "notebook": json.dumps({"cells": cells, "metadata": {}, "nbformat": 4,
                                                       "nbformat_minor": 5}),
            "odd notebook": json.dumps({"cells": 5, "nbformat": "x"}),
            "proto": '{"__proto__": {"x": 1}, "constructor": null}',
            "nested blocks": "{" * 0 + '{"test":' * 35 + '{"acc": 0.5}' + "}" * 35,
            "strings": json.dumps({"accuracy": "84 %", "n": "x"})}


def contents(trap: str) -> dict[str, bytes]:
    """{what it is: bytes}. Unpickled, those named pickle would make the file `trap`."""
    evil = pickle.dumps(Evil(trap))
    npz = io.BytesIO()
    np.savez(npz, y=np.array([Evil(trap)], dtype=object), allow_pickle=True)
    found = {f"image {k}": v for k, v in images().items()}
    found |= {f"text {k}": v.encode() for k, v in texts().items()} | {f"json {k}": v.encode() for k,
                                                                      v in jsons().items()}
    found |= {"pickle": evil, "pickle npz": npz.getvalue(), "zip bomb": zip_bomb(), "nothing": b"",
              "null bytes": bytes(100_000),
              "utf-16": "{\"a\": 1}".encode("utf-16"), "utf-8 broken": b"\xff\xfe\xfa# Hi",
              "latin-1": "Aufl\xf6sung".encode("latin-1"),
              "half utf-8": "é".encode()[:1], "overlong": b"\xc0\xaf", "random": np.random.default_rng(0).bytes(50_000),
              "gzip": zlib.compress(bytes(10**6)), "pdf": b"%PDF-1.7\n" + b"<<" * 5000 + b"%%EOF",
              "crlf": b"a\r\nb\r" * 9000,
              "elf": b"\x7fELF" + bytes(100), "lfs": b"version https://git-lfs.github.com/spec/v1\n"}
    return found


def paths(value: object, at: tuple = ()) -> Iterator[tuple]:
    """The way to every field in a JSON value; of lists the first two places."""
    if at:
        yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, one in parts:
        yield from paths(one, (*at, key))


def replaced(value: object, at: tuple, new: object) -> object:
    """The JSON value with one field replaced."""
    value = here = copy.deepcopy(value)
    for key in at[:-1]:
        here = here[key]
    here[at[-1]] = new
    return value

"use strict";
// Filters, copy buttons, larger figures. The state of the filters is the address after #, so that it can be kept and sent.
(() => {
  const all = [...document.querySelectorAll("details.one")], form = document.getElementById("filters");
  document.querySelectorAll(".copy, .tools").forEach((e) => { e.hidden = false; });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (button && button.matches(".copy")) copy(button);
    if (button && button.matches(".thumb")) enlarge(button);
  });

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    let done = false;
    try { await navigator.clipboard.writeText(code.textContent); done = true; } catch {
      getSelection().selectAllChildren(code);  // where the clipboard is closed to pages: at least select it
      try { done = document.execCommand("copy"); } catch { done = false; }
    }
    button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function enlarge(button) {
    const box = document.getElementById("large"), small = button.querySelector("img");
    box.querySelector("img").src = small.src;
    box.querySelector("img").alt = box.querySelector("span").textContent = small.alt;
    box.showModal();
  }
  document.getElementById("large").addEventListener("click", (e) => { if (e.target.id === "large") e.target.close(); });
  if (!form) return;

  form.hidden = false;
  new ResizeObserver(() => {  // what a link leads to must not lie under the filters
    const above = getComputedStyle(form).position === "sticky" ? form.offsetHeight + 10 : 10;
    document.documentElement.style.scrollPaddingTop = `${above}px`;
  }).observe(form);
  const fields = [...form.elements].filter((e) => e.name), words = new Map();
  const text = (one) => {  // read once: thirty long sections are searched at every key
    if (!words.has(one)) words.set(one, one.textContent.toLowerCase());
    return words.get(one);
  };
  const read = () => Object.fromEntries(fields.map((e) => [e.name, e.type === "checkbox" ? e.checked : e.value.trim()]));
  const shown = () => all.filter((one) => !one.hidden);

  function fits(one, want) {
    const same = ["week", "dataset", "student"].every((key) => !want[key] || one.dataset[key] === want[key]);
    const status = !want.status || one.dataset.status.split(" ").includes(want.status);
    const found = !(want.severity || want.code) || [...one.querySelectorAll(".finding")].some((f) => told(f, want));
    const said = !want.q || want.q.toLowerCase().split(/\s+/).every((word) => text(one).includes(word));
    return same && status && found && said && (!want.look || one.dataset.look === "1");
  }
  function told(finding, want) {
    return (!want.severity || finding.dataset.severity === want.severity) && (!want.code || finding.dataset.code === want.code);
  }

  function apply(keep) {
    const want = read(), any = Object.values(want).some(Boolean), left = new Set();
    for (const one of all) {
      one.hidden = any && !fits(one, want);
      if (!one.hidden) left.add(one.dataset.key);
      one.querySelectorAll(".finding").forEach((f) => { f.hidden = any && !told(f, want); });
    }
    document.querySelectorAll("[data-for]").forEach((e) => e.classList.toggle("dim", !left.has(e.dataset.for)));
    document.querySelectorAll(".overview tbody tr").forEach((row) => {
      row.hidden = any && ![...row.querySelectorAll("[data-for]")].some((e) => left.has(e.dataset.for));
    });
    fields.forEach((e) => e.classList.toggle("on", e.type !== "checkbox" && e.value !== ""));
    document.getElementById("none").hidden = left.size > 0;
    document.getElementById("shown").textContent = `${left.size} of ${all.length} shown`;
    if (!keep) write(want);
  }
  function write(want, at) {
    const state = new URLSearchParams(Object.entries(want).filter(([, v]) => v).map(([k, v]) => [k, v === true ? "1" : v]));
    if (at) state.set("at", at);
    history.replaceState(null, "", `#${state}`);
  }

  function jump(id) {
    const body = document.getElementById(id);
    const one = body && body.closest("details.one");
    if (!one) return Boolean(body) && (body.scrollIntoView(), true);
    if (one.hidden) { fields.forEach((e) => { e.value = e.type === "checkbox" ? e.value : ""; e.checked = false; }); apply(); }
    one.open = true;
    one.scrollIntoView();
    one.querySelector("summary").focus({ preventScroll: true });
    return true;
  }
  function follow() {  // the address changed: a place on the page, or a state of the filters
    const hash = location.hash.slice(1);
    if (/^[a-z]+\d*$/.test(hash) && document.getElementById(hash)) {
      jump(hash);
      if (/^s\d+$/.test(hash)) write(read(), hash);
      return;
    }
    const state = new URLSearchParams(hash);
    for (const e of fields) {
      if (e.type === "checkbox") e.checked = state.get(e.name) === "1";
      else if (e.tagName !== "SELECT" || [...e.options].some((o) => o.value === (state.get(e.name) || ""))) e.value = state.get(e.name) || "";
    }
    apply(true);
    if (state.get("at")) jump(state.get("at"));
    else if (hash) document.getElementById("each").scrollIntoView();
  }

  form.addEventListener("input", () => apply());
  form.addEventListener("submit", (e) => e.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  addEventListener("hashchange", follow);
  document.getElementById("open-all").onclick = () => shown().forEach((one) => { one.open = true; });
  document.getElementById("close-all").onclick = () => all.forEach((one) => { one.open = false; });
  addEventListener("keydown", (e) => {
    if (e.target.matches("input, select, textarea") || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "/") { e.preventDefault(); form.elements.q.focus(); }
    if (e.key === "x") { form.reset(); }
    if (e.key === "j" || e.key === "k") {
      const list = shown(), here = list.indexOf(document.activeElement.closest("details.one"));
      const next = list[e.key === "j" ? here + 1 : Math.max(0, here - 1)];
      if (next) jump(next.querySelector(".body").id);
    }
  });
  follow();
})();

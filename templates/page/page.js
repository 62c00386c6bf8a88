// Refreshes the figures, asks before a button does what it does, and shows records as they pass.
"use strict";
(() => {
  const content = document.getElementById("content");
  const refresh = document.getElementById("refresh");
  const RECORDS_MAX = 50;
  // Requests of buttons that are not finished.
  let asking = 0;
  // The newest answer that is shown. An older one may arrive after it.
  let asked = 0;
  let newest = 0;
  // When a mouse button or a key went down that is not up again: what it is on stays until then, else a click would be lost.
  const PRESS_MS_MAX = 2000;
  let pressed = -Infinity;

  function authorized(headers) {
    const token = sessionStorage.getItem("token");
    return token ? { ...headers, authorization: `Bearer ${token}` } : headers;
  }

  // Asks for the token. Returns whether there is one to try.
  function askToken() {
    const token = prompt("The token of [http] token in wasmill.toml:");
    if (!token) return false;
    sessionStorage.setItem("token", token.trim());
    return true;
  }

  // Sends a request, and once more with a token if it needs one.
  async function send(path, options) {
    const attempt = () => fetch(path, { ...options, headers: authorized({}) });
    let answer = await attempt();
    if (answer.status === 401 && askToken()) {
      answer = await attempt();
      if (answer.status === 401) sessionStorage.removeItem("token");
    }
    return answer;
  }

  // What the user is at: the new content is given the focus at the same place.
  function place(element) {
    if (!content.contains(element)) return null;
    const { pipeline, operation } = element.dataset;
    if (operation) return `[data-pipeline="${CSS.escape(pipeline)}"][data-operation="${operation}"]`;
    if (element.hasAttribute("href")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
    if (element.hasAttribute("aria-label")) return `[aria-label="${CSS.escape(element.getAttribute("aria-label"))}"]`;
    return element.tagName.toLowerCase();
  }

  function mayRenew() {
    const isPressed = performance.now() - pressed < PRESS_MS_MAX;
    return asking === 0 && !isPressed && !document.hidden && getSelection().isCollapsed;
  }

  async function renew() {
    if (!mayRenew()) return;
    const number = ++asked;
    try {
      const answer = await fetch(location.href, { headers: authorized({ accept: "text/html" }) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("content");
      if (!answer.ok || !fresh) throw new Error(String(answer.status));
      if (number < newest || !mayRenew()) return;
      newest = number;
      const focused = document.activeElement;
      const selector = place(focused);
      // Of several alike, such as two links to a pipeline.
      const at = selector ? [...content.querySelectorAll(selector)].indexOf(focused) : -1;
      const scrolled = [...content.querySelectorAll("pre")].map((pre) => pre.scrollTop);
      content.replaceChildren(...fresh.childNodes);
      content.querySelectorAll("pre").forEach((pre, at) => { pre.scrollTop = scrolled[at] ?? 0; });
      if (selector) {
        const alike = content.querySelectorAll(selector);
        (alike[at] ?? alike[alike.length - 1])?.focus({ preventScroll: true });
      }
      document.title = page.title;
      refresh.textContent = "Refreshed every 5 seconds.";
    } catch (error) {
      refresh.textContent = `No answer (${error.message}): the figures are old.`;
    }
  }

  async function operate(button) {
    const { pipeline, operation, query, meaning } = button.dataset;
    const what = query ? `${operation} ${pipeline}: ${decodeURIComponent(query).replaceAll("&", ", ")}` : `${operation} ${pipeline}`;
    if (!confirm(`${what}?\n\n${meaning}`)) return;
    const path = `/api/v1/pipelines/${encodeURIComponent(pipeline)}/${operation}${query ? `?${query}` : ""}`;
    const answer = await send(path, { method: "POST" });
    const result = await answer.json();
    if (!answer.ok) alert(`Not done: ${result.detail}`);
  }

  content.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    // A dialog takes what ends the press.
    pressed = -Infinity;
    if ("token" in button.dataset && !askToken()) return;
    asking += 1;
    try {
      if (button.dataset.operation) await operate(button);
    } catch (error) {
      alert(`Not done: ${error.message}`);
    } finally {
      asking -= 1;
    }
    await renew();
  });

  for (const down of ["pointerdown", "keydown"]) addEventListener(down, () => { pressed = performance.now(); }, true);
  for (const up of ["pointerup", "pointercancel", "keyup"]) addEventListener(up, () => { pressed = -Infinity; }, true);
  setInterval(renew, 5000);

  const form = document.getElementById("tap-form");
  if (!form) return;
  const state = document.getElementById("tap-state");
  const records = document.getElementById("tap-records");
  const button = document.getElementById("tap-button");
  let open = null;
  let shown = 0;
  let missed = 0;

  function tell(text) {
    state.textContent = text;
  }

  function bytes(value) {
    if (value === null) return "null";
    return typeof value === "string" ? value : `base64 ${value.base64}`;
  }

  // Texts of records are never taken for HTML.
  function add(kind, text, to) {
    const element = document.createElement(kind);
    element.textContent = text;
    to.append(element);
    return element;
  }

  function show(record) {
    const item = document.createElement("li");
    const place = record.offset === null ? `${record.topic}/${record.partition}` : `${record.topic}/${record.partition}@${record.offset}`;
    const output = record.output ? ` for ${record.output.name} (${record.output.topic})` : "";
    const cut = record.truncated ? ", cut" : "";
    add("div", `${record.when} ${record.step} ${place}${output}, key ${bytes(record.key)}${cut}`, item).className = "place";
    if (record.failure) add("div", `${record.failure.kind} (${record.failure.code}): ${record.failure.reason}`, item).className = "level-ERROR";
    add("pre", bytes(record.value), item);
    if (record.headers.length > 0) {
      add("div", record.headers.map(([name, value]) => `${bytes(name)}: ${bytes(value)}`).join(", "), item).className = "place";
    }
    records.prepend(item);
    while (records.children.length > RECORDS_MAX) records.lastElementChild.remove();
    shown += 1;
  }

  function on(event, data) {
    if (event === "record") show(data);
    if (event === "missed") missed += data.count;
    if (event === "end") return tell(`Ended: ${data.text}.`);
    const counts = `${shown} records${missed ? `, and ${missed} that passed too fast to be shown` : ""}`;
    tell(event === "notice" ? `Watching, ${counts}; ${data.text}.` : `Watching: ${counts}.`);
  }

  async function read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const parts = /^event: (.*)\ndata: (.*)$/.exec(event);
        if (parts) on(parts[1], JSON.parse(parts[2]));
      }
    }
  }

  async function watch() {
    const query = [...new FormData(form)].filter(([, value]) => value !== "").map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const pipeline = document.getElementById("tap").dataset.pipeline;
    const path = `/api/v1/pipelines/${encodeURIComponent(pipeline)}/tap?${query.join("&")}`;
    const answer = await send(path, { signal: open.signal });
    if (!answer.ok) return tell(`Not watching: ${(await answer.json()).detail}.`);
    await read(answer.body);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (open) return open.abort();
    open = new AbortController();
    shown = 0;
    missed = 0;
    records.replaceChildren();
    button.textContent = "Stop";
    try {
      await watch();
    } catch (error) {
      tell(error.name === "AbortError" ? `Stopped after ${shown} records.` : `Ended: ${error.message}.`);
    } finally {
      open = null;
      button.textContent = "Start";
    }
  });
})();

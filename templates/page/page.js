// Refreshes the figures, and asks before a button does what it does.
"use strict";
(() => {
  const content = document.getElementById("content");
  const refresh = document.getElementById("refresh");
  let isAsking = false;

  async function renew() {
    if (isAsking || document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("content");
      if (!answer.ok || !fresh) throw new Error(String(answer.status));
      const focused = document.activeElement?.dataset?.operation;
      content.replaceChildren(...fresh.childNodes);
      if (focused) content.querySelector(`[data-operation="${focused}"]`)?.focus();
      document.title = page.title;
      refresh.textContent = "Refreshed every 5 seconds.";
    } catch (error) {
      refresh.textContent = `No answer (${error.message}): the figures are old.`;
    }
  }

  function send(path, token) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    return fetch(path, { method: "POST", headers });
  }

  async function operate(button) {
    const { pipeline, operation, query, meaning } = button.dataset;
    const what = query ? `${operation} ${pipeline}: ${decodeURIComponent(query).replaceAll("&", ", ")}` : `${operation} ${pipeline}`;
    if (!confirm(`${what}?\n\n${meaning}`)) return;
    const path = `/api/v1/pipelines/${encodeURIComponent(pipeline)}/${operation}${query ? `?${query}` : ""}`;
    let answer = await send(path, sessionStorage.getItem("token"));
    if (answer.status === 401) {
      const token = prompt("The token of [http] token in wasmill.toml:");
      if (!token) return;
      sessionStorage.setItem("token", token.trim());
      answer = await send(path, token.trim());
      if (answer.status === 401) sessionStorage.removeItem("token");
    }
    const result = await answer.json();
    if (!answer.ok) alert(`Not done: ${result.detail}`);
    await renew();
  }

  content.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-operation]");
    if (!button || isAsking) return;
    isAsking = true;
    try {
      await operate(button);
    } catch (error) {
      alert(`Not done: ${error.message}`);
    } finally {
      isAsking = false;
    }
    await renew();
  });

  setInterval(renew, 5000);
})();

// Client keys: the list, creation (the secret is shown once and stored nowhere), and revocation after a confirmation.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);

// `page` holds the functions of admin.js that are used here: make, say, trying, sure, when, named.
export function keysOf(page) {
  const { make, say, trying, sure, when, named } = page;
  let drawn = "";
  const uses = new Map(); // the table cells of the last uses, by the keys' names

  async function load(names) {
    const found = await api.keys();
    draw(found, names);
    for (const key of found.keys) if (key.source === "store") uses.get(key.name).textContent = key.last_used_at === null ? "never" : when(key.last_used_at);
  }

  function draw(found, names) {
    const now = JSON.stringify([found, names], (name, value) => (name === "last_used_at" ? undefined : value));
    if (now === drawn) return; // an unchanged list is not drawn again, since a button would lose the focus
    drawn = now;
    $("keys-said").textContent = found.required
      ? "Every request needs one of these keys."
      : "No key is required, so every client that reaches this proxy may use it. Keys made here have no effect until idk.yaml has server.stored_keys: true (or keys).";
    $("keys-table").hidden = !found.keys.length;
    $("keys").replaceChildren(...found.keys.map(row));
    const checked = new Set([...$("new-routes").querySelectorAll("input:checked")].map((box) => box.value));
    $("new-routes").replaceChildren(...names.map((name) => make("label", {},
      make("input", { type: "checkbox", value: name, checked: checked.has(name) }), ` ${name}`)));
  }

  function row(key) {
    const cell = (text, className = "") => make("td", { className, textContent: text });
    const used = cell(key.source === "file" ? "not recorded" : "", "text");
    if (key.source === "store") uses.set(key.name, used);
    const limit = (n) => (n === null ? "none" : n.toLocaleString("en"));
    return make("tr", { className: key.revoked_at === null ? "" : "gone" }, make("th", { scope: "row", textContent: key.name }),
      cell(key.routes === null ? "every route" : key.routes.join(", "), "text"), cell(limit(key.requests_per_minute)), cell(limit(key.tokens_per_minute)),
      cell(key.source === "file" ? "in idk.yaml" : `${key.who}, ${when(key.at)}`, "text"), used, make("td", {}, ...last(key)));
  }

  function last(key) {
    if (key.source === "file") return ["change it in the file"];
    if (key.revoked_at !== null) return [`revoked ${when(key.revoked_at)}`];
    const button = make("button", { className: "quiet", textContent: "Revoke" });
    button.setAttribute("aria-label", `Revoke ${key.name}`);
    button.addEventListener("click", () => sure(`Revoke ${key.name}?`,
      "Within a second, every replica refuses this key. This cannot be undone, and the name cannot be used again.", "Revoke",
      () => api.revokeKey(key.name), { anonymous: true, after: async () => { await again(); say(`${key.name} is revoked.`); $("new-key").focus(); } }));
    return [button];
  }

  const again = () => trying(async () => load((await api.routes()).map((route) => route.name)));

  // Creating a key

  const number = (id) => ($(id).value === "" ? null : Number($(id).value));

  function step(made) {
    $("made").hidden = !made;
    $("making").hidden = Boolean(made);
    $("secret").value = made?.secret ?? "";
    $("copied").textContent = "";
  }

  $("new-key").addEventListener("click", () => {
    $("making").reset();
    $("new-who").value = $("who").value;
    $("not-made").textContent = "";
    step(null);
    $("key-dialog").showModal();
    $("new-name").focus();
  });

  $("making").addEventListener("submit", async (event) => {
    event.preventDefault();
    const routes = [...$("new-routes").querySelectorAll("input:checked")].map((box) => box.value);
    const who = $("new-who").value.trim();
    const asked = { name: $("new-name").value.trim(), who, routes: routes.length ? routes : null, requests_per_minute: number("new-requests"), tokens_per_minute: number("new-tokens") };
    $("make").disabled = true; // two clicks must not create two keys
    try {
      const made = await api.makeKey(asked);
      named(who);
      step(made);
      $("secret").focus();
      $("secret").select();
    } catch (error) {
      $("not-made").textContent = error.message;
    } finally {
      $("make").disabled = false;
    }
  });

  $("copy").addEventListener("click", async () => {
    $("secret").select();
    try {
      await navigator.clipboard.writeText($("secret").value);
      $("copied").textContent = "Copied.";
    } catch {
      $("copied").textContent = "The key is selected: copy it with the keyboard."; // over plain HTTP, browsers give no access to the clipboard
    }
  });

  $("no-key").addEventListener("click", () => $("key-dialog").close());
  $("have-it").addEventListener("click", () => $("key-dialog").close());
  $("key-dialog").addEventListener("close", () => {
    const was = !$("made").hidden;
    step(null); // removes the secret from the page
    $("new-key").focus();
    if (was) again();
  });

  return { load };
}

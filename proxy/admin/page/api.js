// Calls of the JSON API under /admin/api; every failure becomes an Error with the server's message.

const BASE = "/admin/api/";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(method, path, body) {
  const sent = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(BASE + path, { method, credentials: "same-origin", ...sent });
  } catch {
    throw new Refused(0, "The proxy does not answer. Check that it is running and reachable.");
  }
  const content = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, content?.error?.message ?? `The proxy answered with status ${response.status}.`);
  return content;
}

const of = (route) => `routes/${encodeURIComponent(route)}`;

export const session = () => ask("GET", "session");
export const logIn = (key) => ask("POST", "session", { key });
export const logOut = () => ask("DELETE", "session");
export const routes = () => ask("GET", "routes");
export const figures = (route) => ask("GET", of(route));
export const near = (route, confidence) => ask("GET", `${of(route)}/near?confidence=${confidence}`);
export const log = (route, filters) => ask("GET", `${of(route)}/log?${new URLSearchParams(filters)}`);
export const queue = (route, after) => ask("GET", `${of(route)}/queue?after=${after}`);
export const label = (route, body) => ask("POST", `${of(route)}/labels`, body);
export const apply = (route, body) => ask("POST", `${of(route)}/threshold`, body);
export const keys = () => ask("GET", "keys");
export const makeKey = (body) => ask("POST", "keys", body);
export const revokeKey = (name) => ask("DELETE", `keys/${encodeURIComponent(name)}`);
export const rollBack = (route, body) => ask("POST", `${of(route)}/rollback`, body);

// The admin page: it shows one route at a time, and asks for confirmation before every change.

import * as api from "./api.js";
import { keysOf } from "./keys.js";
import { logOf } from "./log.js";
import { Curve, Hour, percent, Reliability } from "./charts.js";

const REFRESH_MS = 10_000;
const $ = (id) => document.getElementById(id);
const number = (value) => (value === null ? "not known" : `${+value.toPrecision(3)}`);
const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const when = (at) => new Date(1000 * at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = (time) => time.toLocaleTimeString();
const SERVED = ["answer", "rescue", "escalate"];
// The causes of an alarm, and the next step for each.
const ALARMS = {
  audit: {
    by: "audit labels", says: "labels of the audit sample show that the risk is above its target.",
    next: "Next: roll back to an older version below, or label more answers, then run idk label export, idk tune and idk policy push.",
  },
  feedback: {
    by: "users’ reports", says: "users’ reports show that the risk is above its target.",
    next: "Next: label the audit sample below to confirm the reports. If they are right, tune again or roll back to an older version.",
  },
  drift: {
    by: "drift", says: "the confidences have drifted, so the requests differ from those that were certified.",
    next: "Next: look at the recent answers below. If the traffic has changed, label new answers, then tune and push a new version.",
  },
};

const curve = new Curve($("curve"), (index) => choose(index));
const reliability = new Reliability($("reliability"));
const hour = new Hour($("hour"));

let shown = null; // the figures of the route
let chosen = 0; // the index of the selected point of the curve
let items = [], after = 0, given = []; // the block that is being labelled, and the labels that can be undone
let timer = null;
let failed = false; // whether a call failed since the last update
let updated = null; // the time of the last update

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function say(text) {
  $("said").hidden = !text;
  $("said").textContent = text;
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 401) open(false);
    else say(error.message);
    failed = true;
    return null;
  }
}

const busy = () => document.querySelector("dialog[open]") !== null;

// Logging in

function open(inside) {
  $("gate").hidden = inside;
  $("page").hidden = !inside;
  clearInterval(timer);
  if (inside) timer = setInterval(() => document.hidden || busy() || refresh(), REFRESH_MS);
  else $("key").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("refused").textContent = "";
  try {
    await api.logIn($("key").value);
    $("key").value = "";
    await start();
  } catch (error) {
    $("refused").textContent = error.message;
  }
});

$("leave").addEventListener("click", () => trying(async () => {
  await api.logOut();
  open(false);
}));

// The list of routes

const wanted = () => decodeURIComponent(location.hash.slice(1).split("?")[0]);
addEventListener("hashchange", () => { if (!$("page").hidden) trying(load); });

async function start() {
  open(true);
  await trying(load);
}

async function listed() {
  const routes = await api.routes();
  const name = routes.some((route) => route.name === wanted()) ? wanted() : routes[0].name;
  $("routes").replaceChildren(...routes.map((route) => {
    const link = make("a", { href: `#${encodeURIComponent(route.name)}`, textContent: route.name });
    if (route.name === name) link.setAttribute("aria-current", "page");
    if (route.alarm) link.append(make("span", { className: "tag", textContent: " alarm" }));
    return link;
  }));
  await keys.load(routes.map((route) => route.name));
  return name;
}

async function load() {
  say("");
  const name = await listed();
  const found = await api.figures(name);
  document.title = `${name} · idk`;
  [items, after, given] = [[], 0, []];
  shown = null;
  take(found);
  await Promise.all([neighbours(), more(), log.open()]);
}

async function refresh() {
  failed = false;
  await trying(async () => {
    const name = await listed();
    if (name === shown?.name) take(await api.figures(name));
    if (!items.length) await more();
  });
  if (failed && updated) $("updated").textContent = `Not updated since ${clock(updated)}. The figures below may be out of date.`;
}

// The figures of a route

function take(figures) {
  const moved = shown?.name === figures.name && !$("reset").disabled ? shown.curve[chosen].threshold : null;
  shown = figures;
  updated = new Date();
  $("updated").textContent = `Last updated at ${clock(updated)}; the page updates every ten seconds.`;
  heading();
  pictures();
  facts();
  history();
  const keep = moved === null ? -1 : figures.curve.findIndex((point) => point.threshold === moved);
  choose(keep >= 0 ? keep : inForce(), false);
}

const inForce = () => Math.max(0, shown.curve.findIndex((point) => point.threshold === shown.threshold));

function heading() {
  const { name, mode, policy, sample, alarm } = shown;
  $("kicker").textContent = [`Route ${name}`, mode, policy ?? "no policy"].join(" · ");
  const point = shown.curve[inForce()];
  $("headline").textContent = alarm?.closed ? "Every answer is withheld."
    : shown.threshold === null ? "No threshold is in force." : point.words;
  $("lead").textContent = alarm?.closed ? (shown.threshold === null ? "" : `Without the alarm: ${point.words}`) : {
    enforce: "Answers below the threshold are withheld: the client gets “I don’t know.”",
    observe: "The route observes: every answer is served unchanged, and decisions are only recorded.",
    off: "The route is off: answers are neither judged nor recorded.",
  }[mode];
  $("source").textContent = sample.drawn === 0
    ? "The audit sample is empty. Set audit: 0.02 on the route to keep two of a hundred requests for labelling."
    : `Estimated from ${count(sample.labelled, "label")} of ${count(sample.drawn, "answer")} drawn at random` +
      (sample.fresh ? " under the version in force." : ". The policy may have been fitted on some of them, so the estimates may be too good.");
  $("alarm").hidden = !alarm?.raised;
  $("alarm-title").textContent = alarm?.raised ? `Alarm${alarm.at === null ? "" : ` since ${when(alarm.at)}`}:` : "";
  $("alarm-text").textContent = alarm?.raised
    ? `${ALARMS[alarm.cause].says} The certificate is revoked` +
      (alarm.closed ? ", and every answer is withheld until another version is in force."
        : alarm.threshold === null ? "." : `, and the threshold is tightened to ${number(alarm.threshold)}.`)
    : "";
  $("alarm-next").textContent = alarm?.raised ? ALARMS[alarm.cause].next : "";
}

function pictures() {
  const labelled = shown.curve.some((point) => point.risk !== null);
  $("curve").hidden = !labelled;
  $("curve-none").hidden = labelled;
  if (labelled) curve.show(shown.curve, shown.alarm?.raised ? null : shown.certificate?.target_risk ?? null);
  const { bins, n, base_rate, auroc, brier_skill, ece, ece_noise } = shown.quality;
  $("reliability").hidden = !n;
  $("reliability-none").hidden = n > 0;
  if (n) reliability.show(bins);
  $("quality").textContent = n
    ? `On the dashed diagonal, the confidence equals the share of right answers. ${count(n, "label")}, ${percent(base_rate)} of them right; AUROC ${number(auroc)}, Brier skill ${number(brier_skill)}, calibration error ${number(ece)} (a perfectly calibrated confidence would show ${number(ece_noise)}).`
    : "";
  const start = 60 * Math.floor(shown.at / 60) - 59 * 60;
  const known = new Map(shown.hour.map((minute) => [Math.round(minute.at), minute.decisions]));
  const minutes = Array.from({ length: 60 }, (_, place) => {
    const decisions = Object.entries(known.get(start + 60 * place) ?? {});
    const sum = (some) => some.reduce((all, [, n]) => all + n, 0);
    return { at: start + 60 * place, all: sum(decisions), answered: sum(decisions.filter(([name]) => SERVED.includes(name))) };
  });
  hour.show(minutes);
  const [all, answered] = ["all", "answered"].map((name) => minutes.reduce((sum, minute) => sum + minute[name], 0));
  const would = shown.mode === "observe" ? " would have been" : "";
  $("rates").replaceChildren(...(all
    ? [make("span", { className: "key right" }), `${answered.toLocaleString("en")}${would} answered, `,
       make("span", { className: "key abstained" }), `${(all - answered).toLocaleString("en")}${would} withheld (${percent((all - answered) / all)}) of ${all.toLocaleString("en")}.`]
    : ["There were no requests in the last hour."]));
}

function rows(id, pairs) {
  $(id).replaceChildren(...pairs.flatMap(([term, text]) => [make("dt", { textContent: term }), make("dd", { textContent: text })]));
}

function facts() {
  const { alarm, drift, withheld, fixed, sharing } = shown;
  $("fixed").textContent = fixed ?? (sharing.length > 1 ? `Routes that use this policy: ${sharing.join(", ")}.` : "");
  rows("watch", [
    ["Risk", alarm === null || !alarm.labels ? "this version has no labels yet" : `${alarm.errors} of ${alarm.labels} labelled answers wrong (${percent(alarm.errors / alarm.labels)})`],
    ["Reported by users", alarm === null ? "nothing" : `${alarm.reported} of ${count(alarm.answered, "answer")} as wrong`],
    ["Alarm", alarm?.raised ? `raised by ${ALARMS[alarm.cause].by}` : "none"],
    ["Drift (KS)", drift.ks === null ? "too few confidences" : `${number(drift.ks)}, p = ${number(drift.ks_p)}`],
    ["Drift (PSI)", drift.psi === null ? "too few confidences" : `${number(drift.psi)}, p = ${number(drift.psi_p)}`],
  ]);
  const all = withheld.right + withheld.wrong;
  const share = (n) => (all ? `${n} of ${all} labelled answers below the threshold (${percent(n / all)})` : "no answer below the threshold is labelled");
  rows("cost", [
    ["Wrong answers withheld", share(withheld.wrong)],
    ["Right answers withheld", share(withheld.right)],
    ["Tokens saved", withheld.saved_tokens === null ? "none" : `${withheld.saved_tokens.toLocaleString("en")} since the proxy started, by cancelling streams early`],
    ["Extra tokens", withheld.extra_tokens === null ? "none" : `${withheld.extra_tokens.toLocaleString("en")} since the proxy started, for samples and other further calls`],
  ]);
}

// The certificate, at the threshold that is selected

function certificate(same) {
  const { certificate: made, certified, alarm, policy, threshold } = shown;
  const kind = alarm?.raised ? "alarm" : made && certified && same ? "certified" : "none";
  $("badge").className = `badge ${kind === "certified" ? "" : kind}`.trim();
  if (alarm?.raised) {
    $("badge").textContent = made ? "Revoked" : "Not certified";
    $("promise").textContent = `The alarm revokes the certificate of ${policy}: no guarantee on the risk holds until another version is in force.`;
  } else if (!made) {
    $("badge").textContent = "Not certified";
    $("promise").textContent = "There is no guarantee on the risk; the figures are estimates. idk tune makes a certificate from labels.";
  } else if (!same) {
    $("badge").textContent = "Not certified at this threshold";
    $("promise").textContent = `The certificate holds for the threshold in force (${number(threshold)}) alone.`;
  } else if (!certified) {
    $("badge").textContent = "Not certified";
    $("promise").textContent = "The certificate of the policy does not hold for the threshold of this route.";
  } else {
    $("badge").textContent = "Certified";
    $("promise").textContent = `At most ${percent(made.target_risk)} of the served answers are wrong, with probability ${percent(1 - made.delta)}: ${made.errors} wrong of ${made.answered} answered, among ${made.total} labels that were used for the certificate alone.`;
  }
}

// The threshold

let asking = null;

function choose(index, look = true) {
  chosen = index;
  const point = shown.curve[index];
  const slider = $("threshold");
  slider.max = shown.curve.length - 1;
  slider.value = index;
  slider.setAttribute("aria-valuetext", `${number(point.threshold)}. ${point.words}`);
  const same = point.threshold === shown.threshold;
  $("value").textContent = number(point.threshold);
  $("words").textContent = point.words;
  $("labels").textContent = `${point.errors} wrong of ${count(point.answered, "labelled answer")} at or above this threshold.` + (same ? " In force." : " Not applied.");
  $("apply").disabled = same || shown.fixed !== null;
  $("reset").disabled = same || shown.threshold === null;
  curve.choose(index);
  certificate(same);
  if (!look) return;
  clearTimeout(asking);
  asking = setTimeout(() => trying(neighbours), 200);
}

$("threshold").addEventListener("input", () => choose(Number($("threshold").value)));
$("reset").addEventListener("click", () => choose(inForce()));

async function neighbours() {
  const at = shown.curve[chosen].threshold, name = shown.name;
  const found = await api.near(name, at);
  if (name !== shown.name || at !== shown.curve[chosen].threshold) return;
  const fill = (id, some) => $(id).replaceChildren(...(some.length ? some.map((item) => article(item)) : [make("p", { className: "nothing", textContent: "None." })]));
  fill("below", found.filter((item) => item.confidence < at).reverse());
  fill("above", found.filter((item) => item.confidence >= at));
}

// `blind` hides everything that would tell a labeller what the gate decided.
function article(item, blind = false) {
  const texts = item.answer === null
    ? [make("p", { className: "nothing", textContent: "The text is not stored. Set server.log_text to store texts of all answers." })]
    : [make("p", { className: "question", textContent: item.question ?? "" }), make("p", { className: "answer", textContent: item.answer })];
  const time = make("span", { textContent: when(item.at) });
  if (blind) return make("article", { className: "blind" }, make("p", { className: "verdict" }, time), ...texts);
  const measured = item.confidence === null ? "unmeasured" : `confidence ${number(item.confidence)}`;
  const decision = SERVED.includes(item.decision) ? "served" : "withheld";
  const verdict = make("p", { className: "verdict" }, make("strong", { textContent: `${measured}, ${decision}` }), time);
  return make("article", { className: decision === "served" ? "" : "withheld" }, verdict, ...texts);
}

// Confirmation

let agreed = null, followUp = null;

// Runs `work` after the confirmation, and `after` with its result; `anonymous` changes record no name.
function sure(title, text, yes, work, { anonymous = false, after: then = followed } = {}) {
  $("sure-title").textContent = title;
  $("sure-text").textContent = text;
  $("sure-yes").textContent = yes;
  $("sure-who").value = $("who").value;
  $("sure-name").hidden = anonymous;
  $("sure-who").required = !anonymous;
  [agreed, followUp] = [work, then];
  $("sure").showModal();
}

$("sure-no").addEventListener("click", () => $("sure").close());
$("sure-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = $("sure-who").value.trim();
  if ($("sure-who").required) {
    if (!who) return;
    named(who);
  }
  $("sure").close();
  const done = await trying(() => agreed(who));
  if (done) await followUp(done);
});

// The proxy uses a new version within a second.
async function followed(done) {
  for (let tries = 0; tries < 20 && shown.policy !== done.policy; tries += 1) {
    await new Promise((wake) => setTimeout(wake, 150));
    const found = await trying(() => api.figures(shown.name));
    if (found) { $("reset").disabled = true; take(found); }
  }
  await trying(neighbours);
  say(`${done.said}.`);
}

$("apply").addEventListener("click", () => {
  const point = shown.curve[chosen], { name, version, policy } = shown;
  const lost = shown.certificate ? " The certificate holds for the old threshold alone and is lost." : "";
  const also = shown.sharing.length > 1 ? ` The change applies to ${shown.sharing.join(", ")}.` : "";
  sure(`Threshold ${number(point.threshold)} instead of ${number(shown.threshold)}?`, `${point.words} It replaces ${policy} on every replica.${lost}${also}`, "Apply",
    (who) => api.apply(name, { threshold: point.threshold, version, who }));
});

// Policies

function history() {
  const { history: changes, version, name } = shown;
  $("history-none").hidden = changes.length > 0;
  $("history").replaceChildren(...changes.map((change, place) => {
    const back = make("button", { className: "quiet", textContent: `Roll back to @${change.version}` });
    back.addEventListener("click", () => sure(`Roll back to version ${change.version}?`,
      `Threshold ${number(change.threshold)}, ${change.certified ? "certified" : "not certified"}. The change applies to every replica.`, "Roll back",
      (who) => api.rollBack(name, { version: change.version, in_force: version, who })));
    const first = changes.findIndex((other) => other.version === change.version) === place;
    const cell = (text, className = "") => make("td", { className, textContent: text });
    return make("tr", {}, make("th", { scope: "row", textContent: `@${change.version}` }), cell(number(change.threshold)),
      cell(change.version === version && shown.alarm?.raised && change.certified ? "revoked" : change.certified ? "yes" : "no"), cell({ push: "pushed", rollback: "rolled back to" }[change.action], "text"), cell(change.who, "text"), cell(when(change.at)),
      make("td", {}, ...(change.version === version ? (first ? ["in force"] : []) : first && version !== null ? [back] : [])));
  }));
}

// Labels

function named(who) {
  $("who").value = who;
  sessionStorage.setItem("who", who);
}

$("who").addEventListener("change", () => named($("who").value.trim()));

async function more() {
  const name = shown.name;
  const found = await api.queue(name, after);
  if (name !== shown.name) return;
  [items, after] = [found.items, found.after];
  next();
}

function next() {
  const [item] = items;
  $("card").replaceChildren(item ? article(item, !$("reveal").checked) : make("p", { className: "nothing", textContent: "No answer is waiting for a label." }));
  for (const button of $("labelling").querySelectorAll("button")) button.disabled = !item;
  $("undo").disabled = !given.length;
}

async function give(label) {
  const [item] = items;
  const who = $("who").value.trim();
  if (!item) return;
  if (!who) {
    say("Enter your name first: labels are stored with it.");
    $("who").focus();
    return;
  }
  const body = { id: item.id, choice: item.choice, who };
  if (!(await trying(() => api.label(shown.name, { ...body, label })))) return;
  say(`Labelled as ${label}.`);
  given.push([item, body]);
  await passed();
}

async function passed() {
  items.shift();
  if (items.length) next();
  else await trying(more);
}

async function undo() {
  const last = given.pop();
  if (!last) return;
  if (!(await trying(() => api.label(shown.name, { ...last[1], label: null })))) { given.push(last); return; }
  items.unshift(last[0]);
  say("The last label was removed.");
  next();
}

for (const button of document.querySelectorAll("[data-label]")) button.addEventListener("click", () => give(button.dataset.label));
$("skip").addEventListener("click", passed);
$("undo").addEventListener("click", undo);
$("reveal").addEventListener("change", next);
const KEYS = { c: () => give("correct"), i: () => give("incorrect"), a: () => give("abstained"), s: () => items.length && passed(), u: undo };
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLSelectElement || (event.target instanceof HTMLInputElement && event.target.type !== "range");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("page").hidden || busy()) return;
  KEYS[event.key]?.();
});

const keys = keysOf({ make, say, trying, sure, when, named });
const log = logOf({ make, trying, when, number, route: () => shown?.name });

$("who").value = sessionStorage.getItem("who") ?? "";
trying(async () => {
  const { open: inside } = await api.session();
  if (inside) await start();
  else open(false);
});

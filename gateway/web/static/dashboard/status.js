/**
 * The gateway itself: what is used of what is allowed, its health, its certificates.
 */

import { formatCount, formatDay, formatDuration, formatRate, plural } from "./format.js";
import { element, make, setAttribute, setText } from "./page.js";

const NAMES = ["sessions", "handshakes", "ledger", "health", "certificate"];
const HIGH = 0.8;
const FULL = 0.95;
const SOON = 14 * 86400;
const VERY_SOON = 3 * 86400;

/** Show an answer of GET /status. */
export function showStatus(status) {
    setText(element("version"), status.version);
    showMeter("sessions", status.sessions.total, status.sessions.limit);
    showMeter("handshakes", status.handshakes.open, status.handshakes.limit);
    showMeter("ledger", status.ledger.size, status.ledger.limit);
    const kinds = Object.entries(status.sessions.by_kind).filter(([, count]) => count > 0);
    setText(
        element("sessions-note"),
        kinds.map(([kind, count]) => `${formatCount(count)} ${kind === "unknown" ? "not known yet" : kind}`).join(", ") || "none now",
    );
    setText(element("handshakes-note"), "connections that are no session yet");
    setText(element("ledger-note"), "tickets remembered as used");
    showCertificates(status.certificate_expires, status.targets ?? []);
    showFacts([
        ["Version", status.version],
        ["Up for", formatDuration(status.uptime)],
        ["Listens on", status.listeners.join(", ") || "nothing"],
        ["Event-loop lag", status.event_loop_lag === null || status.event_loop_lag === undefined
            ? "not measured" : `${(status.event_loop_lag * 1000).toFixed(1)} ms`],
        ["Native unmasking", status.masker ? "yes" : "no: uploads are slow"],
    ]);
}

/** Say that the gateway drains, if it does, and how far it is. */
export function showDrain(drain) {
    const draining = drain?.draining === true;
    element("draining").hidden = !draining;
    setText(element("draining-words"), !draining ? "" : drain.sessions
        ? `No new session is taken; ${plural(drain.sessions, "session")} left, with ${formatDuration(drain.left_seconds)} to go.`
        : "No session is left, and no new one is taken.");
}

/** Show nothing of the gateway any more. */
export function clearStatus() {
    showDrain(null);
    for (const name of ["version", "actor", ...NAMES.map(name => `${name}-value`), ...NAMES.map(name => `${name}-note`)]) {
        setText(element(name), "");
    }
    for (const name of ["checks", "targets", "facts"]) {
        element(name).replaceChildren();
        delete element(name).dataset.shown;
    }
    showThroughput(null, null);
}

/** Show what all sessions carry together. */
export function showThroughput(down, up) {
    setText(element("throughput-down"), formatRate(down));
    setText(element("throughput-up"), formatRate(up));
}

/** Show an answer of GET /health. */
export function showHealth(health) {
    const wrong = health.checks.filter(check => !check.ok).length;
    const level = !health.ready ? "bad" : health.healthy ? "good" : "warn";
    setAttribute(element("health-tile"), "data-level", level);
    setText(element("health-value"), { good: "Healthy", warn: "Attention", bad: "Not ready" }[level]);
    setText(element("health-note"), wrong ? `${plural(wrong, "check")} failed, see below` : "ready for sessions");
    element("checks").replaceChildren(...health.checks.map(({ name, ok, detail }) => make(
        "li", { "data-ok": String(ok) },
        make("span", { class: "mark", text: ok ? "OK" : "Failed" }),
        make("span", { class: "check-name", text: name }),
        make("span", { class: "check-detail", text: String(detail ?? "").slice(0, 500) }),
    )));
}

function showMeter(name, used, limit) {
    const share = limit > 0 ? Math.min(1, used / limit) : 0;
    const meter = element(`${name}-meter`);
    // The ledger may not answer.
    const [value, rest] = used === null ? ["?", "not known now"] : [formatCount(used), limit > 0 ? `of ${formatCount(limit)}` : "no limit"];
    setText(element(`${name}-value`), value);
    setText(element(`${name}-limit`), rest);
    setAttribute(meter, "aria-valuenow", Math.round(share * 100));
    setAttribute(meter, "aria-valuetext", `${value} ${rest}`);
    setAttribute(element(`${name}-tile`), "data-level", share >= FULL ? "bad" : share >= HIGH ? "warn" : "good");
    // What is in use is seen, however little it is.
    meter.firstElementChild.style.width = used > 0 ? `max(3px, ${100 * share}%)` : "0";
}

function showCertificates(expires, targets) {
    const now = Date.now() / 1000;
    const [title, level] = expires === null ? ["None", "good"] : left(expires - now);
    setAttribute(element("certificate-tile"), "data-level", level);
    setText(element("certificate-value"), title);
    setText(element("certificate-note"), expires === null ? "none is served" : `until ${formatDay(expires)}`);
    element("targets").replaceChildren(...targets.map(({ target, expires: until }) => {
        const [words, targetLevel] = left(until - now);
        return make(
            "li", { "data-level": targetLevel },
            make("span", { class: "check-name", text: target }),
            make("span", { class: "check-detail", text: `${words} (${formatDay(until)})` }),
        );
    }));
    element("targets-block").hidden = targets.length === 0;
}

function left(seconds) {
    const level = seconds < VERY_SOON ? "bad" : seconds < SOON ? "warn" : "good";
    return [seconds <= 0 ? "Expired" : seconds >= 86400 ? plural(Math.floor(seconds / 86400), "day") : formatDuration(seconds), level];
}

function showFacts(facts) {
    const list = element("facts");
    const shown = JSON.stringify(facts);
    if (list.dataset.shown !== shown) {
        list.dataset.shown = shown;
        list.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
    }
}

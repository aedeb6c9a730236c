/**
 * The console page: its state, its buttons, its words.
 *
 * `document.body.dataset.state` is 'idle', 'connecting', 'connected' or 'ended'; `dataset.code` says how it
 * ended: a WebSocket close code, an HTTP status, or a name from `OTHERS` in reasons.js.
 */

import { Connection, fetchGrant } from "./connection.js";
import { parseLink } from "./link.js";
import { Banner } from "./notices.js";
import { explainOther } from "./reasons.js";
import { TypingField } from "./typing.js";

const MODIFIERS = [[0xFFE3, "ControlLeft"], [0xFFE9, "AltLeft"], [0xFFE1, "ShiftLeft"]];

const element = id => document.getElementById(id);
const tools = ["ctrl-alt-del", "clipboard-button", "keyboard-button"].map(element);

let link = null;
let connection = null;
let attempt = 0;

function show(state, code, { title, advice }) {
    document.body.dataset.state = state;
    document.body.dataset.code = code;
    element("status").textContent = title;
    const waiting = state === "idle" || state === "ended";
    element("notice").hidden = !waiting;
    element("notice-title").textContent = title;
    element("notice-advice").textContent = advice ?? "";
    element("reconnect").hidden = state !== "ended" || link === null;
    const connect = element("connect");
    connect.disabled = link === null;
    connect.textContent = { idle: "Connect", ended: "Reconnect" }[state] ?? "Disconnect";
    for (const tool of tools) {
        tool.disabled = state !== "connected";
    }
    if (state !== "connected") {
        banner.clear();
        typing.hide();
        showClipboard(false);
    }
}

function setTitle(title) {
    element("title").textContent = title;
    document.title = `${title} - Console`;
}

/** Take the console's link out of the address, so that it stays out of history and sight. */
function readLink() {
    const fromAddress = location.hash === "" ? null : parseLink(location.hash);
    if (location.hash !== "") {
        // A path to ask for tickets is no secret: remembering it lets the page be reloaded.
        const kept = fromAddress?.grant ? { grant: fromAddress.grant, title: fromAddress.title } : null;
        history.replaceState(kept, "", location.pathname + location.search);
    }
    const kept = history.state;
    link = fromAddress ?? (typeof kept?.grant === "string" ? { ...kept, ticket: null, password: null } : null);
    attempt++; // Whatever runs belongs to an older link.
    connection?.close("disconnected");
    connection = null;
    if (link === null) {
        show("idle", "link", explainOther("link"));
    } else {
        setTitle(link.title ?? "Console");
        connect();
    }
}

async function connect() {
    const mine = ++attempt;
    show("connecting", "", { title: "Connecting" });
    let granted = link;
    if (link.grant !== null) {
        try {
            granted = await fetchGrant(link.grant);
        } catch (outcome) {
            if (mine === attempt) {
                ended(outcome);
            }
            return;
        }
        if (mine !== attempt) {
            return;
        }
    }
    const named = granted.title ?? link.title;
    setTitle(named ?? "Console");
    connection = new Connection(element("screen"), granted);
    connection.addEventListener("connect", () => connected());
    connection.addEventListener("credentialsrequired", event => askCredentials(event.detail.types));
    connection.addEventListener("clipboard", event => { element("clipboard-text").value = event.detail.text; });
    connection.addEventListener("desktopname", event => named === null && setTitle(event.detail.name || "Console"));
    connection.addEventListener("notice", event => mine === attempt && banner.show(event.detail));
    connection.addEventListener("end", event => mine === attempt && ended(event.detail));
    connection.rfb.background = "transparent";
    applyScale();
}

function connected() {
    show("connected", "", { title: "Connected" });
    connection.rfb.focus();
}

function ended(outcome) {
    connection = null;
    element("ask").close();
    if (outcome.code === "password" && link !== null) {
        link.password = null; // The next attempt asks for another one.
    }
    show("ended", String(outcome.code), outcome);
    element("reconnect").focus();
}

/** Leave the current connection or attempt, if there is one. */
function disconnect(name) {
    if (document.body.dataset.state === "connecting" && connection === null) {
        attempt++;
        ended({ code: name, ...explainOther(name) });
    }
    connection?.close(name);
}

function askCredentials(types) {
    for (const name of ["username", "password"]) {
        element(`ask-${name}-row`).hidden = !types.includes(name);
        element(`ask-${name}`).value = "";
    }
    if (types.some(type => type !== "username" && type !== "password")) {
        connection.close("protocol");
        return;
    }
    element("ask-title").textContent = types.includes("username")
        ? "The console asks who you are"
        : "The console asks for a password";
    element("ask").showModal();
    element(types.includes("username") ? "ask-username" : "ask-password").focus();
}

function answerCredentials(event) {
    event.preventDefault();
    element("ask").close();
    connection?.rfb.sendCredentials({
        username: element("ask-username").value,
        password: element("ask-password").value,
    });
    element("ask-password").value = "";
}

function cancelCredentials(event) {
    event.preventDefault();
    element("ask").close();
    element("ask-password").value = "";
    connection?.close("cancelled");
}

function showClipboard(visible) {
    element("clipboard").hidden = !visible;
    element("clipboard-button").setAttribute("aria-expanded", String(visible));
    if (visible) {
        element("clipboard-text").focus();
    }
}

function sendClipboard() {
    connection?.rfb.clipboardPasteFrom(element("clipboard-text").value);
    showClipboard(false);
    connection?.rfb.focus();
}

async function copyClipboard() {
    const field = element("clipboard-text");
    try {
        await navigator.clipboard.writeText(field.value);
    } catch {
        field.select(); // No permission, or no secure page: the user can still press Ctrl+C.
    }
}

function applyScale() {
    if (connection !== null) {
        connection.rfb.scaleViewport = element("fit").getAttribute("aria-pressed") === "true";
    }
}

async function toggleFullscreen() {
    try {
        if (document.fullscreenElement === null) {
            await document.documentElement.requestFullscreen();
            await navigator.keyboard?.lock?.();
        } else {
            await document.exitFullscreen();
        }
    } catch {
        element("status").textContent = "Full screen is not available here";
    }
    connection?.rfb.focus();
}

/** The console takes every key; this one brings the keyboard back to the page's own controls. */
function leaveScreen(event) {
    if (event.ctrlKey && event.altKey && event.shiftKey && event.code === "KeyM") {
        event.preventDefault();
        event.stopImmediatePropagation();
        if (connection !== null) {
            for (const [keysym, code] of MODIFIERS) {
                connection.rfb.sendKey(keysym, code, false);
            }
            connection.rfb.blur();
        }
        (document.querySelector("#tools button:enabled") ?? element("fit")).focus();
    }
}

const banner = new Banner(...["banner", "warning", "news", "spoken"].map(element));
const typing = new TypingField(element("typing"), keysym => connection?.rfb.sendKey(keysym));

element("connect").addEventListener("click", () => {
    if (["connecting", "connected"].includes(document.body.dataset.state)) {
        disconnect("disconnected");
    } else {
        connect();
    }
});
element("reconnect").addEventListener("click", () => connect());
element("ctrl-alt-del").addEventListener("click", () => {
    connection?.rfb.sendCtrlAltDel();
    connection?.rfb.focus();
});
element("clipboard-button").addEventListener("click", () => showClipboard(element("clipboard").hidden));
element("clipboard-send").addEventListener("click", sendClipboard);
element("clipboard-copy").addEventListener("click", copyClipboard);
element("clipboard-close").addEventListener("click", () => {
    showClipboard(false);
    connection?.rfb.focus();
});
element("keyboard-button").addEventListener("click", () => typing.toggle());
element("fit").addEventListener("click", event => {
    const fits = event.currentTarget.getAttribute("aria-pressed") === "true";
    event.currentTarget.setAttribute("aria-pressed", String(!fits));
    applyScale();
});
element("fullscreen").addEventListener("click", toggleFullscreen);
element("ask-form").addEventListener("submit", answerCredentials);
element("ask-cancel").addEventListener("click", cancelCredentials);
element("ask").addEventListener("cancel", cancelCredentials);
document.addEventListener("fullscreenchange", () => {
    element("fullscreen").setAttribute("aria-pressed", String(document.fullscreenElement !== null));
});
window.addEventListener("keydown", leaveScreen, { capture: true });
window.addEventListener("hashchange", readLink);

readLink();

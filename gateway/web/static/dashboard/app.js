/**
 * The dashboard: who is on which console, and what may be done about it.
 *
 * `document.body.dataset.view` is 'loading', 'sign-in' or 'main'; `dataset.role` is 'read' or 'operate';
 * `dataset.link` says whether what is shown is 'live'.
 */

import { Api, ApiError } from "./api.js";
import { Details } from "./details.js";
import { AdmissionQuestion, EndQuestion } from "./dialogs.js";
import { EventStream } from "./events.js";
import { parseFilter, selectorOf } from "./filter.js";
import { formatCount, plural } from "./format.js";
import { History, TYPES } from "./history.js";
import { element, onceAFrame, setAttribute, setText } from "./page.js";
import { Readings } from "./readings.js";
import { Sessions } from "./sessions.js";
import { clearStatus, showDrain, showHealth, showStatus, showThroughput } from "./status.js";
import { Table } from "./table.js";

const RECENT = 200;

const api = new Api();
const sessions = new Sessions();
const stream = new EventStream(api);
const readings = new Readings(api);
const history = new History();
const table = new Table();
const endQuestion = new EndQuestion(api, markEnding);
const admissionQuestion = new AdmissionQuestion(api, changeAdmission);
const details = new Details(search, id => askToEnd([id]));

let terms = [];
let startedAt = null;
let readingWorks = false;
let streamOpen = false;
let wasLive = false;
/** Counts sign-ins and sign-outs: what was asked for before one must not be shown after it. */
let era = 0;

const drawTable = onceAFrame(() => {
    const rows = sessions.select(terms, table.key, table.descending);
    const isAll = rows.length === sessions.size;
    table.show(rows);
    setText(element("shown-count"), isAll ? plural(rows.length, "session") : `${formatCount(rows.length)} of ${plural(sessions.size, "session")}`);
    element("sessions-empty").hidden = rows.length > 0;
    setText(element("sessions-empty"), sessions.size ? "No session fits the search" : "No sessions now");
    const endShown = element("end-shown");
    setText(endShown, isAll ? "End all" : `End all ${formatCount(rows.length)} found`);
    endShown.disabled = rows.length === 0;
    if (details.shown !== null) {
        details.update(sessions.rows.get(details.shown));
    }
});
const drawHistory = onceAFrame(() => history.draw());

/** Begin: find out who we are, then show everything. */
async function start() {
    const mine = ++era;
    try {
        const status = await api.get("status");
        if (mine !== era) {
            return;
        }
        takeStatus(status);
        setView("main");
        stream.start();
        readings.start();
    } catch (error) {
        if (mine === era) {
            failed(error);
        }
    }
}

/** Something that was asked for failed: ask who it is, or say so and go on. */
function failed(error) {
    if (!(error instanceof ApiError)) {
        throw error;
    }
    if (error.status === 401 || error.status === 403) {
        signOut(signInWords(error));
        return;
    }
    if (document.body.dataset.view === "main") {
        readingWorks = false;
        showLink();
        return;
    }
    setText(element("loading-words"), `${error.words}. Trying again\u2026`);
    setView("loading");
    const mine = era;
    setTimeout(() => mine === era && start(), 3000);
}

function signInWords(error) {
    if (error.status === 403) {
        return error.words;
    }
    return api.hasToken ? "The gateway does not accept this token" : "";
}

async function loadHistory() {
    const mine = era;
    const answers = await Promise.all(TYPES.map(type => api.get("history", { type, limit: RECENT })));
    if (mine !== era) {
        return;
    }
    for (const { events } of answers) {
        events.reverse().forEach(event => history.take(event));
    }
    drawHistory();
}

function takeStatus(status) {
    if (startedAt !== null && status.started !== startedAt) {
        // Another process: its events are counted from 1 again.
        history.clear();
        stream.start();
    }
    startedAt = status.started;
    document.body.dataset.role = status.role === "operate" ? "operate" : "read";
    setText(element("actor"), status.actor ?? "");
    element("sign-out").hidden = !api.hasToken;
    showStatus(status);
    history.showCounts(status.ended, status.refused);
    showAdmission(status.admitting);
    showDrain(status.drain);
}

function showAdmission(now) {
    element("stopped").hidden = now;
    element("admission-button").hidden = !now;
}

function changeAdmission(now) {
    showAdmission(now);
    readings.hurry(); // Health says so as well.
}

/** Say whether what is shown is true now. */
function showLink() {
    const isLive = streamOpen && readingWorks;
    setAttribute(document.body, "data-link", isLive ? "live" : "waiting");
    wasLive ||= isLive;
    setText(element("link"), isLive ? "Live" : wasLive ? "Reconnecting" : "Connecting");
}

function happened({ detail: event }) {
    const now = Date.now();
    const { session } = event;
    if (event.type === "session-opened" || event.type === "session-joined") {
        sessions.take(session, now);
    } else if (event.type === "session-warned") {
        sessions.warn(session, event.reason, event.left, now);
    } else if (event.type === "session-ended") {
        sessions.end(session.id, now);
    } else if (event.type === "admin-action" && /-admitting$/.test(event.action)) {
        changeAdmission(event.action === "resume-admitting");
    } else if (event.type === "admin-action") {
        readings.hurry(); // It may have been drained, reloaded or handed over.
    }
    if (history.take(event)) {
        drawHistory();
    }
    drawTable();
}

/** Show at once that sessions are about to go; their ends follow. */
function markEnding(ids) {
    for (const row of ids.map(id => sessions.rows.get(id)).filter(row => row !== undefined)) {
        row.session = { ...row.session, state: "ending" };
    }
    table.clearSelection();
    drawTable();
}

function askToEnd(ids) {
    const rows = ids.map(id => sessions.rows.get(id)).filter(row => row !== undefined);
    if (rows.length === 1) {
        const { session } = rows[0];
        const words = `${session.subject ?? "unnamed"} on ${session.target}, from ${session.client}`;
        endQuestion.ask({ selector: null, ids: [session.id] }, words);
    } else if (rows.length) {
        endQuestion.ask({ selector: null, ids: rows.map(row => row.session.id) }, `Those you selected: ${countsOf(rows)}.`);
    }
}

function askToEndShown() {
    const rows = sessions.select(terms, table.key, table.descending);
    const ids = rows.map(row => row.session.id);
    const selector = terms.length ? selectorOf(terms) : { all: true };
    const later = selector === null ? "" : " Sessions that open before you confirm, and fit, are ended too.";
    const which = terms.length ? `Those that fit \u201c${element("search").value.trim()}\u201d` : "Every session on this gateway";
    endQuestion.ask({ selector, ids }, `${which}: ${countsOf(rows)}.${later}`);
}

function countsOf(rows) {
    const different = name => new Set(rows.map(row => row.session[name])).size;
    return `${plural(rows.length, "session")} of ${plural(different("subject"), "subject")} on ${plural(different("target"), "console")}`;
}

function search(text) {
    element("search").value = text;
    searched();
}

function searched() {
    const text = element("search").value;
    terms = parseFilter(text);
    element("search-clear").hidden = text === "";
    drawTable();
}

function setView(view) {
    document.body.dataset.view = view;
    for (const name of ["loading", "sign-in", "main"]) {
        element(`${name}-view`).hidden = name !== view;
    }
    element("header-tools").hidden = view !== "main";
}

/** Forget the token and all that was shown, and ask for a token. */
function signOut(words = "") {
    era++;
    api.signOut();
    stream.stop();
    readings.stop();
    streamOpen = readingWorks = wasLive = false;
    showLink();
    startedAt = null;
    [details, endQuestion, admissionQuestion].forEach(each => each.clear());
    sessions.clear();
    history.clear();
    clearStatus();
    table.show([]);
    search("");
    setText(element("sign-in-problem"), words);
    element("sign-in-problem").hidden = words === "";
    element("token").value = "";
    setView("sign-in");
    element("token").focus();
}

function signIn(event) {
    event.preventDefault();
    const token = element("token").value.trim();
    element("token").value = "";
    if (api.signIn(token)) {
        setText(element("loading-words"), "Signing in");
        start();
    } else {
        setText(element("sign-in-problem"), "This is not a token");
        element("sign-in-problem").hidden = false;
    }
}

stream.addEventListener("open", () => {
    streamOpen = true;
    showLink();
    loadHistory().catch(failed); // After the stream began, so that nothing is missed in between.
});
stream.addEventListener("wait", () => {
    streamOpen = false;
    showLink();
});
stream.addEventListener("refused", ({ detail }) => failed(detail));
stream.addEventListener("happened", happened);
stream.addEventListener("lost", () => readings.hurry());
readings.addEventListener("sessions", ({ detail: { list, asked, isWhole } }) => {
    sessions.replace(list, asked, isWhole);
    showThroughput(sessions.down, sessions.up);
    drawTable();
});
readings.addEventListener("status", ({ detail }) => takeStatus(detail));
readings.addEventListener("health", ({ detail }) => showHealth(detail));
readings.addEventListener("done", () => {
    readingWorks = true;
    showLink();
});
readings.addEventListener("failed", ({ detail }) => failed(detail));
table.addEventListener("sort", drawTable);
table.addEventListener("select", () => {
    const count = table.selected.length;
    element("end-selected").disabled = count === 0;
    setText(element("end-selected"), count ? `End ${count} selected` : "End selected");
});
table.addEventListener("end", ({ detail }) => askToEnd([detail]));
table.addEventListener("details", ({ detail }) => details.open(sessions.rows.get(detail)));
element("search").addEventListener("input", searched);
element("search-clear").addEventListener("click", () => {
    search("");
    element("search").focus();
});
element("end-selected").addEventListener("click", () => askToEnd(table.selected));
element("end-shown").addEventListener("click", askToEndShown);
element("admission-button").addEventListener("click", () => admissionQuestion.ask(false));
element("resume").addEventListener("click", () => admissionQuestion.ask(true));
element("sign-in-form").addEventListener("submit", signIn);
element("sign-out").addEventListener("click", () => signOut());
document.addEventListener("visibilitychange", () => readings.resume());
window.addEventListener("online", () => {
    stream.hurry();
    readings.resume();
});

start();

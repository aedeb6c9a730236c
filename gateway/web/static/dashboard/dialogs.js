/**
 * Questions before something is done: ending sessions, stopping and resuming admission.
 */

import { endSessions, MAX_MESSAGE, messageProblem } from "./ending.js";
import { formatCount, plural, utf8Length } from "./format.js";
import { announce, element, setText } from "./page.js";

/** From this many on, their number has to be typed. */
const MANY = 10;

/** A dialog with a form, in which something is done that may fail. */
class Question {
    constructor(name) {
        this._dialog = element(name);
        this._words = element(`${name}-words`);
        this._problem = element(`${name}-problem`);
        this._submit = element(`${name}-submit`);
        this._cancel = element(`${name}-cancel`);
        this._busy = false;
        element(`${name}-form`).addEventListener("submit", event => {
            event.preventDefault();
            this._try();
        });
        this._cancel.addEventListener("click", () => this._busy ? this._stop() : this.close());
        this._dialog.addEventListener("cancel", event => {
            if (this._busy) {
                event.preventDefault();
                this._stop();
            }
        });
    }

    /** Show it. The way out has the focus, so that a key held too long does nothing. */
    _open() {
        this._complain("");
        this._setBusy(false);
        this._dialog.showModal();
        this._cancel.focus();
    }

    close() {
        if (this._dialog.open) {
            this._dialog.close();
        }
    }

    /** Forget what was asked last. */
    clear() {
        this.close();
        setText(this._words, "");
    }

    async _try() {
        if (this._busy || this._submit.disabled) {
            return;
        }
        this._complain("");
        this._setBusy(true);
        try {
            await this._act();
            this.close();
        } catch (error) {
            this._complain(error.words ?? "Something went wrong in this page");
        } finally {
            this._setBusy(false);
        }
    }

    _setBusy(busy) {
        this._busy = busy;
        this._submit.disabled = busy;
    }

    /** Leave undone what can be left. */
    _stop() {}

    _complain(text) {
        setText(this._problem, text);
        this._problem.hidden = text === "";
    }
}

export class EndQuestion extends Question {
    /**
     * @param {Api} api
     * @param {function(string[])} onEnded - is told the ids of those that were ended.
     */
    constructor(api, onEnded) {
        super("end");
        this._api = api;
        this._onEnded = onEnded;
        this._plan = { selector: null, ids: [] };
        this._message = element("end-message");
        this._number = element("end-number");
        this._stopper = new AbortController();
        this._message.addEventListener("input", () => this._check());
        this._number.addEventListener("input", () => this._check());
    }

    /**
     * Ask.
     *
     * @param {{selector: ?object, ids: string[]}} plan - of endSessions().
     * @param {string} words - which sessions are meant.
     */
    ask(plan, words) {
        setText(this._words, words);
        this._message.value = "";
        this._open();
        this._describe(plan);
    }

    _describe(plan) {
        this._plan = plan;
        const count = plan.ids.length;
        const isOne = count === 1 && plan.selector === null;
        setText(element("end-title"), isOne ? "End this session?" : `End ${plural(count, "session")}?`);
        setText(this._submit, isOne ? "End session" : `End ${plural(count, "session")}`);
        element("end-number-row").hidden = count < MANY;
        setText(element("end-number-label"), `Type ${count} to confirm`);
        this._number.value = "";
        this._check();
    }

    _check() {
        const problem = messageProblem(this._message.value);
        setText(element("end-count"), `${utf8Length(this._message.value)} of ${MAX_MESSAGE} bytes`);
        element("end-count").dataset.problem = String(problem !== "");
        this._message.setAttribute("aria-invalid", String(problem !== ""));
        this._complain(problem);
        this._submit.disabled = this._busy || !this._isReady();
    }

    _isReady() {
        const count = this._plan.ids.length;
        const isSure = count < MANY || this._number.value.trim().replaceAll(",", "") === String(count);
        return isSure && messageProblem(this._message.value) === "";
    }

    async _act() {
        const { selector, ids } = this._plan;
        const progress = done => setText(this._submit, `${formatCount(done)} of ${formatCount(ids.length)} ended`);
        this._stopper = new AbortController();
        try {
            const ended = await endSessions(this._api, this._plan, this._message.value.trim(), { progress, signal: this._stopper.signal });
            this._onEnded(ended);
            announce(ended.length ? `${plural(ended.length, "session")} ended` : "No session was there to be ended any more");
        } catch (error) {
            const ended = new Set(error.ended);
            this._onEnded([...ended]);
            this._describe({ selector, ids: ids.filter(id => !ended.has(id)) });
            throw error;
        }
    }

    _stop() {
        this._stopper.abort();
    }

    _setBusy(busy) {
        super._setBusy(busy);
        this._submit.disabled = busy || !this._isReady();
        this._message.disabled = busy;
        this._number.disabled = busy;
        setText(this._cancel, busy ? "Stop" : "Cancel");
    }
}

export class AdmissionQuestion extends Question {
    /**
     * @param {Api} api
     * @param {function(boolean)} onChange
     */
    constructor(api, onChange) {
        super("admission");
        this._api = api;
        this._onChange = onChange;
        this._admitting = true;
        this._reason = element("admission-reason");
    }

    /** Ask whether to admit new sessions from now on, or not. */
    ask(admitting) {
        this._admitting = admitting;
        setText(element("admission-title"), admitting ? "Admit new sessions again?" : "Stop admitting new sessions?");
        setText(this._words, admitting
            ? "Users can open consoles again."
            : "Nobody can open a console until you admit sessions again. Sessions that are open go on.");
        setText(this._submit, admitting ? "Resume admission" : "Stop admission");
        this._submit.className = admitting ? "main" : "danger";
        this._reason.value = "";
        this._open();
    }

    async _act() {
        const reason = this._reason.value.trim();
        const answer = await this._api.post("admission", { admitting: this._admitting, ...(reason === "" ? {} : { reason }) });
        this._onChange(answer.admitting);
        announce(answer.admitting ? "New sessions are admitted again" : "No new sessions are admitted");
    }
}

/**
 * All that is known of one session, and ways from it to others like it.
 */

import { exactTerm } from "./filter.js";
import { formatBytes, formatCount, formatDuration, formatRate, formatTime } from "./format.js";
import { element, make, setText } from "./page.js";

const FILTERS = { subject: "subject", console: "target", client: "client", ticket: "ticket" };

export class Details {
    /**
     * @param {function(string)} onFilter - is given what to search for.
     * @param {function(string)} onEnd - is given the id of the session to end.
     */
    constructor(onFilter, onEnd) {
        this._dialog = element("details");
        this._id = null;
        element("details-close").addEventListener("click", () => this.close());
        element("details-end").addEventListener("click", () => {
            this.close();
            onEnd(this._id);
        });
        element("details-filters").addEventListener("click", event => {
            const button = event.target.closest("button");
            if (button !== null) {
                this.close();
                onFilter(button.dataset.filter);
            }
        });
    }

    /** The id of the session that is shown, or null. */
    get shown() {
        return this._dialog.open ? this._id : null;
    }

    open(row) {
        this._id = row.session.id;
        this.update(row);
        const buttons = Object.entries(FILTERS)
            .filter(([, name]) => row.session[name] !== null)
            .map(([field, name]) => make("button", {
                type: "button", "data-filter": exactTerm(field, row.session[name]), text: `Same ${field}`,
            }));
        element("details-filters").replaceChildren(...buttons);
        this._dialog.showModal();
        element("details-close").focus();
    }

    /** Show newer values, or that the session is gone (without a row). */
    update(row) {
        element("details-gone").hidden = row !== undefined;
        element("details-end").disabled = row === undefined || row.session.state === "ending";
        if (row === undefined) {
            return;
        }
        const { session, down, up } = row;
        setText(element("details-title"), session.subject ?? "unnamed");
        const traffic = (bytes, messages, rate) => `${formatBytes(bytes)} in ${formatCount(messages)} messages, now ${formatRate(rate)}`;
        const facts = [
            ["Console", session.target],
            ["Kind", session.kind ?? "not known yet"],
            ["State", session.state],
            ["Security to the console", session.security ?? "relayed as it is"],
            ["Others on the console", { share: "may stay", "take-over": "had to leave", refuse: "keep this one out" }[session.attach] ?? session.attach],
            ["Client", session.client],
            ["Started", formatTime(session.started)],
            ["Duration", formatDuration(session.duration)],
            ["Idle", formatDuration(session.idle)],
            ["To the client", traffic(session.to_client, session.messages_to_client, down)],
            ["To the console", traffic(session.to_target, session.messages_to_target, up)],
            ["Ticket", session.ticket],
            ["Session", session.id],
        ];
        const list = element("details-facts");
        if (list.childElementCount !== 2 * facts.length) {
            list.replaceChildren(...facts.flatMap(([name]) => [make("dt", { text: name }), make("dd")]));
        }
        for (const [index, [, value]] of facts.entries()) {
            setText(list.children[2 * index + 1], value);
        }
    }

    close() {
        if (this._dialog.open) {
            this._dialog.close();
        }
    }

    /** Forget what was shown last. */
    clear() {
        this.close();
        setText(element("details-title"), "");
        for (const name of ["details-facts", "details-filters"]) {
            element(name).replaceChildren();
        }
    }
}

/**
 * Ending sessions, and what users are told. Nothing here touches the page.
 */

import { utf8Length } from "./format.js";

/** Bytes of UTF-8 that fit where the message goes, the close frame. */
export const MAX_MESSAGE = 120;
const AT_ONCE = 4;
const ATTEMPTS = 5;

/** What is wrong with a message for users; empty where nothing is. */
export function messageProblem(message) {
    if (utf8Length(message) > MAX_MESSAGE) {
        return `The message is too long by ${utf8Length(message) - MAX_MESSAGE} bytes`;
    }
    return /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(message) ? "The message must be one line of text" : "";
}

/**
 * End sessions: by one request where the gateway can select them, otherwise by one for each.
 *
 * @param {Api} api
 * @param {{selector: ?object, ids: string[]}} plan
 * @param {string} message - for the users; empty for the gateway's own words.
 * @param {{progress: function(number), signal: AbortSignal}} options - `progress` is told how many were asked for
 *     so far; `signal` leaves the rest alone.
 * @returns {Promise<string[]>} ids of those that were there to be ended.
 * @throws {ApiError} - with `ended`, the ids of those that were ended before.
 */
export async function endSessions(api, { selector, ids }, message, { progress = () => {}, signal = null } = {}) {
    const words = message === "" ? {} : { message };
    if (selector !== null) {
        return idsOf(await api.post("sessions/end", { ...selector, ...words }));
    }
    const waiting = [...ids];
    const ended = [];
    let asked = 0;
    let failure = null;
    const work = async () => {
        while (waiting.length && failure === null && !signal?.aborted) {
            const session = waiting.shift();
            try {
                ended.push(...idsOf(await patiently(() => api.post("sessions/end", { session, ...words }))));
                progress(++asked);
            } catch (error) {
                failure ??= error;
            }
        }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, ids.length) }, work));
    if (failure !== null) {
        failure.ended = ended;
        throw failure;
    }
    return ended;
}

/** Ask again, later, while the gateway says that this is too much at once. */
async function patiently(ask) {
    for (let attempt = 1; ; attempt++) {
        try {
            return await ask();
        } catch (error) {
            if (error.status !== 429 || attempt === ATTEMPTS) {
                throw error;
            }
            await new Promise(resolve => setTimeout(resolve, 1000 * Math.max(error.wait, 0.2 * attempt)));
        }
    }
}

function idsOf(answer) {
    return (answer.ended ?? []).map(session => session.id);
}

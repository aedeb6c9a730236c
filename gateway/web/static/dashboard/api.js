/**
 * The control API, and the token that opens it.
 *
 * The token is kept in this tab's session storage and sent in a header; it is never part of an address.
 */

const TIMEOUT = 15000;
const TOKEN = "console-gateway-token";
const MAX_TOKEN = 512;

/** The API said no, or nothing. `status` is 0 where there was no answer. */
export class ApiError extends Error {
    constructor(status, message, { code = "", remedy = "", wait = 0 } = {}) {
        super(message);
        this.status = status;
        this.code = code;
        this.remedy = remedy;
        /** Seconds that the gateway asks to be left alone. */
        this.wait = wait;
    }

    /** What happened and what may be done about it, in one line. */
    get words() {
        return this.remedy ? `${this.message}. ${this.remedy}` : this.message;
    }
}

export class Api {
    /** @param {Storage} storage - forgets when the tab is closed. */
    constructor(storage = sessionStorage) {
        this._storage = storage;
    }

    get hasToken() {
        return this._storage.getItem(TOKEN) !== null;
    }

    /** Keep a token; false where it cannot be one. */
    signIn(token) {
        if (token.length > MAX_TOKEN || !/^[\x21-\x7e]+$/.test(token)) {
            return false;
        }
        this._storage.setItem(TOKEN, token);
        return true;
    }

    signOut() {
        this._storage.removeItem(TOKEN);
    }

    /**
     * @param {string} path - below /api/v1/.
     * @param {object} query
     * @throws {ApiError}
     */
    async get(path, query = {}) {
        return read(await this._ask(path, query, {}));
    }

    /** @throws {ApiError} */
    async post(path, body) {
        return read(await this._ask(path, {}, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
        }));
    }

    /**
     * An answer that goes on; `signal` ends it.
     *
     * @throws {ApiError}
     */
    async stream(path, headers, signal) {
        return this._ask(path, {}, { headers: { Accept: "text/event-stream", ...headers }, signal });
    }

    async _ask(path, query, options) {
        const address = new URL(`api/v1/${path}`, document.baseURI);
        for (const [name, value] of Object.entries(query)) {
            address.searchParams.set(name, value);
        }
        const token = this._storage.getItem(TOKEN);
        let response;
        try {
            response = await fetch(address, {
                credentials: "same-origin",
                mode: "same-origin",
                redirect: "error",
                cache: "no-store",
                referrerPolicy: "no-referrer",
                signal: AbortSignal.timeout(TIMEOUT),
                ...options,
                headers: { ...options.headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) },
            });
        } catch {
            throw new ApiError(0, "The gateway cannot be reached");
        }
        if (!response.ok) {
            throw await refusal(response);
        }
        return response;
    }
}

async function read(response) {
    try {
        return await response.json();
    } catch {
        throw new ApiError(0, "The gateway's answer was cut off or is not JSON");
    }
}

/** What the API says about an error; or the status, where something else answered. */
async function refusal(response) {
    const { error } = await response.json().catch(() => ({})) ?? {};
    const text = value => typeof value === "string" ? value.slice(0, 500).replace(/\.$/, "") : "";
    return new ApiError(response.status, text(error?.message) || `The gateway answered with status ${response.status}`, {
        code: text(error?.code),
        remedy: text(error?.remedy),
        wait: Math.min(30, Number(response.headers.get("Retry-After")) || 0),
    });
}

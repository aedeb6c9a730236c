/**
 * What has to be asked for again and again: counters of sessions, the status, the health.
 */

const PERIOD = 2000;
const LONGEST_PERIOD = 30000;
/** The gateway has better to do than answering: that takes at most a twentieth of the time. */
const SHARE = 20;
const HEALTH_EVERY = 5;
/** Sessions in one answer; it is put together in one go, and consoles wait meanwhile. */
const PAGE = 1000;
const MOST = 50000;

/**
 * Events: "sessions" (detail: `{list, asked, isWhole}`, see Sessions.replace()), "status" and "health" (detail:
 * the API's answer), "done" when all of them came, and "failed" (detail: an ApiError) when not.
 */
export class Readings extends EventTarget {
    /** @param {Api} api */
    constructor(api) {
        super();
        this._api = api;
        this._timer = null;
        this._count = 0;
        this._tookLately = [];
        /** Counts starts and stops: what was asked for before one must not be shown after it. */
        this._era = 0;
        this._runs = false;
    }

    start() {
        this._era++;
        this._runs = true;
        this.hurry();
    }

    stop() {
        this._era++;
        this._runs = false;
        clearTimeout(this._timer);
    }

    /** Read everything now. */
    hurry() {
        this._count = 0;
        this.resume();
    }

    /** Go on, if somebody looks. */
    async resume() {
        clearTimeout(this._timer);
        if (document.hidden || !this._runs) {
            return;
        }
        const era = this._era;
        const began = performance.now();
        try {
            const health = this._count++ % HEALTH_EVERY === 0;
            await Promise.all([this._readSessions(era), this._read("status", era), health && this._read("health", era)]);
            this._tell("done", null, era);
        } catch (error) {
            this._tell("failed", error, era);
        }
        if (era === this._era) {
            clearTimeout(this._timer);
            this._timer = setTimeout(() => this.resume(), this._pause(performance.now() - began));
        }
    }

    async _read(name, era) {
        this._tell(name, await this._api.get(name), era);
    }

    async _readSessions(era) {
        const asked = Date.now();
        const list = [];
        for (let total = 1; list.length < total && list.length < MOST && era === this._era;) {
            const answer = await this._api.get("sessions", { limit: PAGE, offset: list.length });
            list.push(...answer.sessions);
            total = answer.sessions.length ? answer.total : 0;
        }
        this._tell("sessions", { list, asked, isWhole: list.length <= PAGE }, era);
    }

    /** How long to wait, in milliseconds; one answer that was slow for once does not count. */
    _pause(took) {
        this._tookLately = [...this._tookLately.slice(-2), took];
        const usual = this._tookLately.length < 3 ? 0 : Math.min(...this._tookLately);
        return Math.min(LONGEST_PERIOD, Math.max(PERIOD, SHARE * usual));
    }

    _tell(name, detail, era) {
        if (era === this._era) {
            this.dispatchEvent(new CustomEvent(name, { detail }));
        }
    }
}

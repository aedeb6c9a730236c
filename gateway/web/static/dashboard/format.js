/**
 * Numbers, times and sizes as people read them. Nothing here touches the page.
 */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes, in powers of 1000: "0 B", "12.3 kB". */
export function formatBytes(bytes) {
    let value = Math.max(0, Number(bytes) || 0);
    let unit = 0;
    while (value >= 999.5 && unit < UNITS.length - 1) {
        value /= 1000;
        unit++;
    }
    return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Bytes per second; a dash while they are not known. */
export function formatRate(rate) {
    return rate === null || rate === undefined ? "\u2013" : `${formatBytes(rate)}/s`;
}

/** A span of time in its two largest units: "5 s", "3 min 20 s", "2 h 5 min", "4 d 1 h". */
export function formatDuration(seconds) {
    const whole = Math.max(0, Math.floor(Number(seconds) || 0));
    if (whole < 60) {
        return `${whole} s`;
    }
    const [large, size, largeUnit, small, smallUnit] =
        whole < 3600 ? [whole, 60, "min", 1, "s"] :
        whole < 86400 ? [whole, 3600, "h", 60, "min"] :
        [whole, 86400, "d", 3600, "h"];
    const rest = Math.floor((large % size) / small);
    return `${Math.floor(large / size)} ${largeUnit}` + (rest ? ` ${rest} ${smallUnit}` : "");
}

/** A moment as local date and time: "2026-03-01 14:05:09"; the date is left out where it is today's. */
export function formatTime(epoch, now = Date.now()) {
    const moment = new Date(epoch * 1000);
    if (Number.isNaN(moment.getTime())) {
        return "?";
    }
    const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(twoDigits).join(":");
    return formatDay(epoch) === formatDay(now / 1000) ? time : `${formatDay(epoch)} ${time}`;
}

/** A moment's local date: "2026-03-01". */
export function formatDay(epoch) {
    const moment = new Date(epoch * 1000);
    return Number.isNaN(moment.getTime()) ? "?" :
        [moment.getFullYear(), twoDigits(moment.getMonth() + 1), twoDigits(moment.getDate())].join("-");
}

/** "1 session", "2 sessions", "5,000 sessions". */
export function plural(count, word) {
    return `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
}

/** A whole number with separators. */
export function formatCount(count) {
    return String(Math.round(Number(count) || 0)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** How many bytes a text takes in UTF-8, which is what close frames count (RFC 6455, section 5.5). */
export function utf8Length(text) {
    return new TextEncoder().encode(text).length;
}

function twoDigits(number) {
    return String(number).padStart(2, "0");
}

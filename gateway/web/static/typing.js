/**
 * A text field that turns what is typed into key presses: the way to the keyboard of a touch screen.
 *
 * Such keyboards report text, not keys, so the field compares what it holds with what it held before.
 */

const BACKSPACE = 0xFF08;
const RETURN = 0xFF0D;
// Something to erase, so that the erase key of an empty field is noticed.
const FILLING = "\u00a0".repeat(64);

/** The X Window System keysym that writes a character. */
export function keysymOf(character) {
    const code = character.codePointAt(0);
    if (character === "\n") {
        return RETURN;
    }
    return (code >= 0x20 && code <= 0x7E) || (code >= 0xA0 && code <= 0xFF) ? code : 0x01000000 + code;
}

/** The key presses that turn one text into another: erase back to where they differ, then write. */
export function keysymsBetween(before, after) {
    const from = [...before];
    const to = [...after];
    let same = 0;
    while (same < from.length && same < to.length && from[same] === to[same]) {
        same++;
    }
    return [...from.slice(same).map(() => BACKSPACE), ...to.slice(same).map(keysymOf)];
}

export class TypingField {
    /**
     * @param {HTMLTextAreaElement} field
     * @param {function(number)} press - called with the keysym of each key to press and release.
     */
    constructor(field, press) {
        this._field = field;
        this._press = press;
        this._before = FILLING;
        field.addEventListener("input", () => this._typed());
    }

    toggle() {
        if (this._field.hidden) {
            this._field.hidden = false;
            this._fill();
            this._field.focus();
        } else {
            this.hide();
        }
    }

    hide() {
        this._field.hidden = true;
        this._fill();
    }

    _typed() {
        const after = this._field.value;
        keysymsBetween(this._before, after).forEach(this._press);
        this._before = after;
        // Nothing typed stays in sight longer than its line.
        if (after.includes("\n") || after.length < FILLING.length / 2 || after.length > FILLING.length * 4) {
            this._fill();
        }
    }

    _fill() {
        this._field.value = FILLING;
        this._before = FILLING;
        this._field.setSelectionRange(FILLING.length, FILLING.length);
    }
}

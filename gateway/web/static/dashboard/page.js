/**
 * Small tools for the page. Text becomes text, whatever is in it: markup is never made from data.
 */

/** The element with this id. */
export const element = id => document.getElementById(id);

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {object} attributes - `text` is its text; null and undefined leave an attribute out.
 * @param {...Node} children
 */
export function make(tag, { text, ...attributes } = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== null && value !== undefined) {
            made.setAttribute(name, value);
        }
    }
    if (text !== undefined) {
        made.textContent = text;
    }
    made.append(...children);
    return made;
}

/** Change a text, if it is another one; a browser that speaks does not repeat itself then. */
export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}

/** Change an attribute, if its value is another one. */
export function setAttribute(node, name, value) {
    if (value === null || value === undefined) {
        node.removeAttribute(name);
    } else if (node.getAttribute(name) !== String(value)) {
        node.setAttribute(name, value);
    }
}

/** Say something for a few seconds, and to browsers that speak. */
export function announce(text, isProblem = false) {
    const toast = element("toast");
    toast.textContent = text;
    toast.dataset.problem = String(isProblem);
    toast.dataset.shown = "true";
    clearTimeout(announce.timer);
    announce.timer = setTimeout(() => { toast.dataset.shown = "false"; }, isProblem ? 12000 : 6000);
}

/** Call something in the next frame, once, however often it is asked for before. */
export function onceAFrame(call) {
    let asked = false;
    return () => {
        if (!asked) {
            asked = true;
            requestAnimationFrame(() => {
                asked = false;
                call();
            });
        }
    };
}

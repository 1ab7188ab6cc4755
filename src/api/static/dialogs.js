// Questions of the page: may it delete, what is the new name.

import { $ } from "./dom.js";
import { Problem } from "./api.js";

/**
 * Show a dialog that does `work` when it is confirmed. It closes once that succeeded, and says what went wrong otherwise.
 * `from` has the focus afterwards. Resolves to whether it was done.
 */
export function perform(id, { work, from, focus }) {
  const dialog = $(id);
  const form = dialog.querySelector("form");
  const said = dialog.querySelector(".dialog-said");
  const buttons = form.querySelectorAll("button");
  const busy = (on) => {
    buttons.forEach((button) => (button.disabled = on));
    dialog.oncancel = on ? (event) => event.preventDefault() : null;
  };
  said.textContent = "";
  return new Promise((resolve) => {
    let done = false;
    form.onsubmit = async (event) => {
      event.preventDefault();
      busy(true);
      try {
        await work();
        done = true;
        dialog.close();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        said.textContent = [error.message, error.hint].filter(Boolean).join(" ");
      } finally {
        busy(false);
      }
    };
    form.querySelector("[data-cancel]").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      if (from?.isConnected) from.focus();
      resolve(done);
    }, { once: true });
    dialog.showModal();
    focus.focus();
  });
}

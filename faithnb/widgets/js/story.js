// A story that moves as one scrolls: beside its words stands the picture of where one is.

import { html } from "./elements.js";

const ROOM = "(min-width: 60rem) and (prefers-reduced-motion: no-preference)";

/** `frames` of each scene, with `names` of where in its training each is. On a narrow screen, and
 * for whom nothing should move, the pictures stay where they stand, below the words of each scene. */
export default {
  render({ model, el }) {
    const story = el.querySelector(".fn-story");
    const scenes = [...story.querySelectorAll(".fn-scene")];
    const all = model
      .get("frames")
      .flatMap((frames, s) =>
        frames.map((picture, k) => ({ s, k, of: frames.length, picture, name: "" })),
      );
    model
      .get("names")
      .flat()
      .forEach((name, k) => (all[k].name = name));
    const picture = html("div", {});
    const input = html("input", {
      type: "range",
      min: 0,
      max: all.length - 1,
      step: 1,
      value: 0,
      oninput: () => goTo(Number(input.value)),
    });
    const output = html("output", {});
    const stage = html(
      "div",
      { class: "fn-stage" },
      picture,
      html("label", { class: "fn-slider" }, html("span", {}, "training"), input, output),
    );
    let at = -1;

    function show(k) {
      if (k === at) return;
      at = k;
      picture.innerHTML = all[k].picture;
      input.value = k;
      output.textContent = all[k].name;
      input.setAttribute("aria-valuetext", `scene ${all[k].s + 1}, ${all[k].name}`);
      scenes.forEach((scene, s) => scene.classList.toggle("fn-now", s === all[k].s));
    }

    /** How far the middle of the window is through a scene, from 0 to 1. */
    const through = (scene) => {
      const { top, height } = scene.getBoundingClientRect();
      return Math.min(1, Math.max(0, (innerHeight / 2 - top) / height));
    };

    function follow() {
      const s = Math.max(
        0,
        scenes.findLastIndex((scene) => through(scene) > 0),
      );
      const first = all.findIndex((frame) => frame.s === s);
      // The last frame stays for the last third, so that it can be read.
      const part = Math.min(1, through(scenes[s]) * 1.5);
      show(first + Math.round(part * (all[first].of - 1)));
    }

    /** Scroll to where a frame is shown. */
    function goTo(k) {
      const { s, k: inside, of } = all[k];
      const { top, height } = scenes[s].getBoundingClientRect();
      const part = of > 1 ? inside / (of - 1) / 1.5 : 0.4;
      scrollTo({ top: scrollY + top + Math.max(0.002, part) * height - innerHeight / 2 });
      show(k);
    }

    const room = matchMedia(ROOM);
    function arrange() {
      story.classList.toggle("fn-moving", room.matches);
      if (room.matches) {
        story.append(stage);
        addEventListener("scroll", follow, { passive: true });
        follow();
      } else {
        removeEventListener("scroll", follow);
        stage.remove();
      }
    }
    room.addEventListener("change", arrange);
    arrange();
  },
};

// Scrubbing through the frames of a video, and two videos played in step. Without this script the videos have
// their own controls.
"use strict";

(() => {
  const seconds = (value) => `${value.toFixed(2)} s`;

  // --- scrubbing ---

  // An image that shows one tile of a sheet, filling the box it is in.
  const place = (image, columns, rows, index) => {
    image.style.width = `${columns * 100}%`;
    image.style.height = `${rows * 100}%`;
    image.style.transform = `translate(${-(index % columns) / columns * 100}%, ${-Math.floor(index / columns) / rows * 100}%)`;
  };

  const scrubber = (strip) => {
    if (strip.dataset.ready) return;
    strip.dataset.ready = "yes";
    const media = strip.closest("section");
    const video = media.querySelector("video");
    const frame = media.querySelector(".frame");
    const picture = frame.querySelector("img");
    const columns = Number(strip.dataset.columns);
    const rows = Number(strip.dataset.rows);
    const count = columns * rows;
    const length = () => video.duration || Number(strip.dataset.durationMs) / 1000 || 0;
    const moment = (index) => index / count * length();
    let at = 0;

    const tiles = Array.from({ length: count }, (_, index) => {
      const tile = document.createElement("span");
      const image = document.createElement("img");
      image.alt = "";
      image.src = strip.dataset.sheet;
      tile.style.aspectRatio = `${video.width} / ${video.height}`;
      place(image, columns, rows, index);
      tile.append(image);
      return tile;
    });
    strip.replaceChildren(...tiles);

    const show = (index, preview) => {
      at = Math.min(count - 1, Math.max(0, index));
      tiles.forEach((tile, number) => tile.classList.toggle("at", number === at));
      strip.setAttribute("aria-valuenow", String(at + 1));
      strip.setAttribute("aria-valuetext", `Frame ${at + 1} of ${count}, at ${seconds(moment(at))}`);
      place(picture, columns, rows, at);
      frame.hidden = !preview;
    };
    const hide = () => { frame.hidden = true; };
    const seek = () => { video.currentTime = moment(at); hide(); };
    const under = (event) => {
      const box = strip.getBoundingClientRect();
      return Math.floor((event.clientX - box.left) / box.width * count);
    };

    strip.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" || event.buttons) show(under(event), true);
    });
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      show(under(event), true);
    });
    strip.addEventListener("pointerup", (event) => { show(under(event), true); seek(); });
    strip.addEventListener("pointerleave", hide);
    strip.addEventListener("pointercancel", hide);
    strip.addEventListener("blur", hide);
    strip.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
        PageDown: at - 3, PageUp: at + 3, Home: 0, End: count - 1,
      };
      if (event.key in moves) show(moves[event.key], true);
      else if (event.key === "Enter" || event.key === " ") seek();
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    });
    video.addEventListener("timeupdate", () => {
      if (frame.hidden && length()) show(Math.floor(video.currentTime / length() * count + 1e-6), false);
    });
    video.addEventListener("play", hide);

    show(0, false);
    strip.hidden = false;
    const help = document.getElementById("scrub-help");
    if (help) help.hidden = false;
  };

  // --- two videos in step ---

  const FRAME_S = 1 / 24;
  const DRIFT_S = 0.05;

  const pair = (area) => {
    const videos = [...area.querySelectorAll("video")];
    const controls = area.querySelector(".controls");
    if (videos.length !== 2 || !controls) return;
    const [left, right] = videos;
    const stage = area.querySelector(".stage");
    const button = controls.querySelector("[data-do=play]");
    const seek = controls.querySelector("[data-seek]");
    const clock = controls.querySelector("[data-clock]");
    const wiper = controls.querySelector(".wiper");
    const wipe = controls.querySelector("[data-wipe]");
    const modes = [...controls.querySelectorAll("[name=mode]")];
    const line = document.createElement("div");
    line.className = "wipe-line";
    line.hidden = true;
    stage.append(line);
    let playing = false;

    // The longer video leads; the other one follows until it ends.
    const leader = () => ((left.duration || 0) >= (right.duration || 0) ? left : right);
    const follower = () => (leader() === left ? right : left);
    const length = () => leader().duration || 0;
    const hasEnded = (video, time) => time >= (video.duration || 0) - 0.001;

    const draw = () => {
      const time = leader().currentTime;
      if (document.activeElement !== seek || playing) seek.value = length() ? String(Math.round(time / length() * 1000)) : "0";
      seek.setAttribute("aria-valuetext", seconds(time));
      clock.textContent = `${seconds(time)} / ${seconds(length())}`;
      button.textContent = playing ? "Pause both" : "Play both";
      area.dataset.playing = playing ? "yes" : "no";
    };
    const pause = () => {
      playing = false;
      for (const video of videos) video.pause();
      follower().currentTime = Math.min(leader().currentTime, follower().duration || 0);
      draw();
    };
    const go = (time) => {
      const to = Math.min(Math.max(0, time), length());
      for (const video of videos) video.currentTime = Math.min(to, video.duration || to);
      draw();
    };
    const step = () => {
      if (!playing) return;
      const time = leader().currentTime;
      const other = follower();
      if (leader().ended) { pause(); return; }
      if (hasEnded(other, time)) other.pause();
      else {
        if (Math.abs(other.currentTime - time) > DRIFT_S && !other.seeking) other.currentTime = time;
        if (other.paused) other.play().catch(() => {});
      }
      draw();
      requestAnimationFrame(step);
    };
    const play = async () => {
      if (hasEnded(leader(), leader().currentTime)) go(0);
      playing = true;
      draw();
      follower().currentTime = Math.min(leader().currentTime, follower().duration || 0);
      try {
        await Promise.all(videos.filter((video) => !hasEnded(video, video.currentTime)).map((video) => video.play()));
      } catch { pause(); return; }
      requestAnimationFrame(step);
    };
    const toggle = () => (playing ? pause() : play());

    const isWiping = () => modes.find((mode) => mode.checked).value === "wipe";
    const cut = () => {
      const share = Number(wipe.value);
      right.closest(".player").style.clipPath = isWiping() ? `inset(0 0 0 ${share}%)` : "none";
      line.style.left = `${share}%`;
      wipe.setAttribute("aria-valuetext", `${share} %`);
    };
    const arrange = () => {
      stage.classList.toggle("wiping", isWiping());
      wiper.hidden = line.hidden = !isWiping();
      cut();
    };

    button.addEventListener("click", toggle);
    controls.querySelector("[data-do=back]").addEventListener("click", () => { pause(); go(leader().currentTime - FRAME_S); });
    controls.querySelector("[data-do=forward]").addEventListener("click", () => { pause(); go(leader().currentTime + FRAME_S); });
    seek.addEventListener("input", () => go(Number(seek.value) / 1000 * length()));
    wipe.addEventListener("input", cut);
    for (const mode of modes) mode.addEventListener("change", arrange);
    controls.querySelector("[data-speed]").addEventListener("change", (event) => {
      for (const video of videos) video.playbackRate = Number(event.target.value);
    });
    for (const video of videos) {
      video.controls = false;
      video.addEventListener("click", toggle);
      video.addEventListener("loadedmetadata", draw);
      video.addEventListener("seeked", draw);
    }
    area.addEventListener("keydown", (event) => {
      const typed = event.target.closest("input, select, textarea");
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const by = event.shiftKey ? 1 : FRAME_S;
      const keys = {
        " ": toggle,
        ArrowLeft: () => { pause(); go(leader().currentTime - by); },
        ArrowRight: () => { pause(); go(leader().currentTime + by); },
        Home: () => go(0),
        End: () => go(length()),
        w: () => { modes.find((mode) => !mode.checked).checked = true; arrange(); },
        "[": () => { wipe.value = String(Number(wipe.value) - 5); cut(); },
        "]": () => { wipe.value = String(Number(wipe.value) + 5); cut(); },
      };
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!(key in keys)) return;
      if (typed && !["w", "[", "]"].includes(key) && !(typed === seek && key.startsWith("Arrow")) ) return;
      if (key === " " && event.target.closest("button")) return;
      event.preventDefault();
      keys[key]();
    });

    controls.hidden = false;
    arrange();
    draw();
  };

  // A long lineage begins where this video is.
  const centre = (drawing) => {
    const current = drawing.querySelector(".current");
    if (!current) return;
    const inside = current.getBoundingClientRect().top - drawing.getBoundingClientRect().top + drawing.scrollTop;
    drawing.scrollTop = inside - drawing.clientHeight / 2;
  };

  const ready = () => {
    for (const drawing of document.querySelectorAll(".lineage-drawing")) centre(drawing);
    for (const strip of document.querySelectorAll(".scrub")) scrubber(strip);
    for (const area of document.querySelectorAll("[data-compare]")) pair(area);
  };
  ready();
  document.addEventListener("htmx:oobAfterSwap", ready);

  // A note about a moment of the video leads there.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-moment-ms]");
    const video = document.getElementById("player");
    if (!link || !video) return;
    event.preventDefault();
    video.currentTime = Number(link.dataset.momentMs) / 1000;
    video.scrollIntoView({ block: "center" });
  });
})();

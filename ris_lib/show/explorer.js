// One explorer. `root` is its figure, `D` what Python put together (see explorer.py, `_data`).
function risExplorer(root, D) {
  "use strict";
  const find = (name) => root.querySelector(".ris-" + name);
  const picture = find("picture"), canvas = root.querySelector(".ris-stage canvas"), outlined = find("outline");
  const caption = find("caption"), note = find("note"), bars = find("bars"), items = find("items");
  const strength = root.querySelector("input[type=range]"), outline = root.querySelector("input[type=checkbox]");
  const sprites = {};
  const at = { model: 0, sentence: 0, row: 0, layer: 0, pinned: -1, shown: -1 };
  let fine = 1; // a tile has so many times 128 dots

  const view = () => D.views[at.model][at.sentence];
  const row = () => view().rows[at.row];
  const layer = () => row() && row().layers[at.layer];

  // A map as a canvas of its own size: cut out before it is enlarged, so that neighbours cannot bleed into it.
  function cut(sprite, index, then) {
    const image = sprites[sprite.png] || (sprites[sprite.png] = Object.assign(new Image(), { src: D.png + sprite.png }));
    const give = () => {
      const small = document.createElement("canvas");
      small.width = sprite.w; small.height = sprite.h;
      small.getContext("2d").drawImage(image, 0, index * sprite.h, sprite.w, sprite.h, 0, 0, sprite.w, sprite.h);
      then(small);
    };
    if (image.complete && image.naturalWidth) give(); else image.addEventListener("load", give, { once: true });
  }

  function paint(on, sprite, index, withPicture, current) {
    cut(sprite, index, (small) => {
      if (!current()) return;
      const pen = on.getContext("2d");
      pen.clearRect(0, 0, on.width, on.height);
      pen.imageSmoothingEnabled = true; pen.imageSmoothingQuality = "high";
      if (withPicture) pen.drawImage(picture, 0, 0, on.width, on.height);
      pen.drawImage(small, 0, 0, on.width, on.height);
    });
  }

  function show(index) {
    at.shown = index;
    const v = view(), l = layer(), hasMap = index >= 0 && l.maps;
    const sprite = hasMap ? l.maps : v.mask, place = hasMap ? index : 0;
    paint(canvas, sprite, place, false, () => at.shown === index && view() === v && layer() === l);
    caption.textContent = index < 0 ? v.caption : l.captions[index];
    // Bars keep their place while nothing is picked; otherwise the buttons below would leave the mouse.
    const list = !(l && l.bars) ? [] : index >= 0 ? l.bars[index] : l.bars.reduce((a, b) => (b.length > a.length ? b : a), []);
    bars.hidden = !list.length;
    bars.classList.toggle("ris-idle", index < 0);
    bars.replaceChildren(...list.flatMap(([label, value]) => {
      const name = document.createElement("span"), box = document.createElement("span"),
        bar = document.createElement("i"), number = document.createElement("span");
      name.textContent = label; number.textContent = value.toFixed(2);
      bar.style.width = 100 * value + "%"; box.append(bar);
      return [name, box, number];
    }));
    [...items.children].forEach((button, k) => press(button, k - 1 === at.pinned));
  }

  function press(button, on) {
    button.setAttribute("aria-pressed", on);
    button.tabIndex = on ? 0 : -1;
  }

  // Buttons of which one is pressed; arrows, Home and End walk along them.
  function toolbar(box, labels, name, choose) {
    const group = box.querySelector("[role=toolbar]");
    box.hidden = labels.length < 2;
    group.replaceChildren(...labels.map((label, k) => {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = label; button.dataset.of = `${k + 1} of ${labels.length}`;
      press(button, k === at[name]);
      button.addEventListener("click", () => choose(k));
      return button;
    }));
  }

  function walk(event) {
    const group = event.target.closest("[role=toolbar]");
    if (!group || event.target.tagName !== "BUTTON") return;
    const all = [...group.children], here = all.indexOf(event.target), inItems = group === items;
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      const next = (to + all.length) % all.length;
      if (inItems) { pin(next - 1); } else all[next].click();
      [...group.children][next].focus();
    } else if (inItems && (event.key === "ArrowUp" || event.key === "ArrowDown") && row().layers.length > 1) {
      const count = row().layers.length;
      at.layer = (at.layer + (event.key === "ArrowDown" ? 1 : count - 1)) % count;
      draw();
      items.children[here].focus();
    } else if (inItems && event.key === "Escape") {
      pin(-1); items.children[0].focus();
    } else return;
    event.preventDefault();
  }

  function pin(index) { at.pinned = index; show(index); }

  function tile(label, score, sprite, index, place) {
    const button = document.createElement("button"), name = document.createElement("span");
    button.type = "button"; name.textContent = label;
    if (sprite) {
      const small = document.createElement("canvas");
      small.setAttribute("aria-hidden", "true");
      small.ready = () => {
        small.width = 128 * fine; small.height = Math.round(small.width * D.height / D.width);
        paint(small, sprite, place, true, () => true);
      };
      if (picture.complete && picture.naturalWidth) small.ready(); else picture.addEventListener("load", small.ready, { once: true });
      button.append(small);
    } else { // for paper; a screen has bars
      const best = [...layer().bars[index]].sort((a, b) => b[1] - a[1]).filter((pair, k) => k < 3 && pair[1] >= 0.005);
      name.append(Object.assign(document.createElement("span"), { className: "ris-guess",
        textContent: ": " + best.map(([word, value]) => word + " " + value.toFixed(2)).join(", ") }));
    }
    button.append(name);
    if (score !== null) {
      const number = document.createElement("span");
      number.className = "ris-score"; number.textContent = score.toFixed(2);
      number.title = row().score; button.append(number);
    }
    button.addEventListener("pointerenter", (e) => { if (e.pointerType === "mouse") show(index); });
    button.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") show(at.pinned); });
    button.addEventListener("focus", () => { if (button.matches(":focus-visible")) show(index); });
    button.addEventListener("blur", () => show(at.pinned));
    button.addEventListener("click", () => pin(index === at.pinned ? -1 : index));
    return button;
  }

  // Everything below the picture; called when the model, sentence, row or layer changes.
  function draw() {
    const v = view(), r = row(), l = layer();
    toolbar(find("models"), D.models, "model", (k) => go({ model: k }));
    toolbar(find("sentences"), D.sentences, "sentence", (k) => go({ sentence: k }));
    toolbar(find("rows"), v.rows.map((x) => x.title), "row", (k) => go({ row: k, layer: 0, pinned: -1 }));
    toolbar(find("layers"), r ? r.layers.map((x) => x.name) : [], "layer", (k) => go({ layer: k }));
    note.textContent = r ? r.note : ""; note.hidden = !note.textContent;
    items.setAttribute("aria-label", r ? r.title : "Answer");
    items.replaceChildren(tile("answer", null, v.mask, -1, 0), ...(r ? r.items : []).map((label, k) =>
      tile(label, l.scores ? l.scores[k] : null, l.maps, k, k)));
    if (D.targets) outlined.style.backgroundImage = `url(${D.png}${D.targets[at.sentence]})`;
    outlined.hidden = !D.targets || !outline.checked;
    show(at.pinned);
  }

  function go(change) {
    const before = row(), name = layer() && layer().name, bar = document.activeElement && document.activeElement.closest("[role=toolbar]");
    Object.assign(at, change);
    const rows = view().rows;
    if (!("row" in change)) at.row = Math.max(0, rows.findIndex((r) => before && r.title === before.title));
    const now = row();
    if (!("layer" in change)) at.layer = now ? Math.max(0, now.layers.findIndex((x) => x.name === name)) : 0;
    if (now && before && String(now.items) !== String(before.items)) at.pinned = -1;
    draw();
    const pressed = bar && root.contains(bar) && bar.querySelector("[aria-pressed=true]");
    if (pressed) pressed.focus();
  }

  // Paper has finer dots than a screen.
  function paper(event) {
    if (!root.isConnected) return removeEventListener(event.type, paper);
    fine = event.type === "beforeprint" ? 3 : 1;
    items.querySelectorAll("canvas").forEach((small) => small.ready());
  }

  root.addEventListener("keydown", walk);
  ["beforeprint", "afterprint"].forEach((name) => addEventListener(name, paper));
  strength.addEventListener("input", () => { canvas.style.opacity = strength.value / 100; });
  outline.addEventListener("change", () => { outlined.hidden = !D.targets || !outline.checked; });
  outline.parentElement.hidden = !D.targets;
  canvas.width = D.width; canvas.height = D.height;
  find("tools").hidden = false;
  draw();
}

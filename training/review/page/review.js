// One frame at a time, decided by a key or a tap. The server keeps everything; this page only shows it and asks.

const LABEL_KEYS = [..."123456789abcdefghijklmopqrstvwyz"]; // n, u and x mean something else
const AHEAD = 3; // pictures loaded before they are needed

const part = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const pictures = new Map();
let state = null;
let at = 0;
let busy = false; // a decision is on its way: what is pressed meanwhile was meant for a frame not yet seen
let visible = false; // the frame itself is on the screen, not only its name

async function ask(path, body) {
  const request = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Error("The review has ended or cannot be reached. What you saw decided is stored; start `training review` again to go on.");
  }
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status });
  return answer;
}

function say(text, wrong = false) {
  part.message.textContent = text;
  part.message.classList.toggle("wrong", wrong);
}

function picture(frame) {
  if (!pictures.has(frame.id)) {
    const image = new Image();
    image.alt = `frame ${frame.name}`;
    image.src = `picture/${frame.id}`;
    pictures.set(frame.id, image);
  }
  return pictures.get(frame.id);
}

async function show(index) {
  at = index;
  const frame = state.frames[at];
  visible = false;
  delete document.body.dataset.shown;
  describe();
  const image = picture(frame);
  const loaded = await image.decode().then(() => true, () => false);
  if (state.frames[at] !== frame) return; // moved on meanwhile
  part.stage.replaceChildren(loaded ? image : paragraph("This picture cannot be shown. x discards it."));
  visible = loaded;
  document.body.dataset.shown = frame.id;
  const near = new Set([frame, ...following(at).slice(0, AHEAD)].map((one) => one.id));
  for (const one of following(at).slice(0, AHEAD)) picture(one);
  for (const id of pictures.keys()) if (!near.has(id)) pictures.delete(id);
}

function following(index) {
  const frames = state.frames;
  return [...frames.slice(index + 1), ...frames.slice(0, index)].filter((frame) => !frame.stands);
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

function shortTime(text) {
  const time = new Date(text);
  return isNaN(time) ? text : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

const percent = (p) => (p > 0 && p < 0.01 ? "<1 %" : `${Math.round(100 * p)} %`);

function describe() {
  const frame = state.frames[at];
  const counts = state.counts;
  const decided = state.frames.filter((one) => one.stands).length;
  part.progress.max = state.frames.length;
  part.progress.value = decided;
  part.count.textContent = `${decided} of ${state.frames.length} decided`;
  part.count.title = Object.entries(counts).map(([what, n]) => `${n} ${what}`).join(", ");
  part.about.textContent = [
    `${at + 1}/${state.frames.length}`,
    frame.time && shortTime(frame.time),
    frame.bin && `went to ${frame.bin} (${frame.reason})`,
    frame.bundle && `judged by ${frame.bundle}`,
    frame.name,
  ].filter(Boolean).join(" \u00b7 ");
  part.stands.hidden = !frame.stands;
  part.stands.className = frame.stands?.what ?? "";
  part.stands.textContent = frame.stands ? [frame.stands.what, frame.stands.label].filter(Boolean).join(": ") : "";
  describeGuess(frame);
  describeLabels(frame);
  part.undo.disabled = counts.confirmed + counts.corrected + counts.labelled + counts.discarded === 0;
}

function describeGuess(frame) {
  const confirmable = state.labels.includes(frame.guess);
  part.guess.replaceChildren();
  if (frame.guess === null) {
    part.guess.textContent = "The bin left no guess.";
  } else {
    const label = document.createElement("strong");
    label.textContent = frame.guess;
    part.guess.append("The bin guessed ", label, ` (${percent(frame.probabilities[frame.guess])})`, confirmable ? "" : ", not one of the labels here");
  }
  part.confirm.disabled = !confirmable;
  part.confirm.lastElementChild.textContent = confirmable ? `Confirm ${frame.guess}` : "Confirm";
}

function describeLabels(frame) {
  const rows = state.labels.map((label, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.classList.toggle("guess", label === frame.guess);
    button.classList.toggle("given", label === frame.stands?.label);
    if (LABEL_KEYS[index]) {
      const key = document.createElement("kbd");
      key.textContent = LABEL_KEYS[index];
      button.append(key);
    }
    const name = document.createElement("span");
    name.textContent = label;
    button.append(name);
    const p = frame.probabilities[label];
    if (p !== undefined) {
      const share = document.createElement("output");
      share.textContent = percent(p);
      button.append(share);
      button.style.setProperty("--p", p);
    }
    button.addEventListener("click", () => decide(label));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  part.labels.replaceChildren(...rows);
  part.labels.querySelector(".given, .guess")?.scrollIntoView({ block: "nearest" });
  part.known.replaceChildren(...state.labels.map((label) => Object.assign(document.createElement("option"), { value: label })));
}

async function change(path, body) {
  if (busy) return null;
  busy = true;
  try {
    const answer = await ask(path, { ...body, rows: state.rows });
    state.rows = answer.rows;
    state.counts = answer.counts;
    state.labels = answer.labels;
    const frame = state.frames.find((one) => one.id === answer.picture);
    if (frame) frame.stands = answer.stands;
    return { frame, stands: answer.stands };
  } catch (error) {
    if (error.status === 409) {
      state = await ask("state");
      await show(Math.min(at, state.frames.length - 1));
    }
    say(error.message, true);
    return null;
  } finally {
    busy = false;
  }
}

async function decide(label) {
  const frame = state.frames[at];
  if (!document.body.dataset.shown) return;
  if (!visible && label !== null) {
    say("This picture cannot be shown, so it gets no label. x discards it.", true);
    return;
  }
  const changed = await change("decide", { picture: frame.id, label });
  if (!changed) return;
  const { what, label: given } = changed.stands;
  const [next] = following(at);
  say(`${given ?? frame.name} ${what}.${next ? "" : " That was the last one: Done ends the review."}`);
  document.activeElement?.blur();
  await show(next ? state.frames.indexOf(next) : at);
}

async function undo() {
  if (part.undo.disabled) {
    say("Nothing to undo.");
    return;
  }
  const changed = await change("undo", {});
  if (!changed) return;
  say(changed.frame ? "Undone." : "Undone: a frame of an earlier review, which is not among these.");
  document.activeElement?.blur();
  await show(changed.frame ? state.frames.indexOf(changed.frame) : at);
}

function confirm() {
  if (part.confirm.disabled) say("There is no guess to confirm here: choose a label.", true);
  else decide(state.frames[at].guess);
}

function move(step) {
  const index = at + step;
  if (index < 0 || index >= state.frames.length) return;
  say("");
  show(index);
}

function name() {
  part.name.value = "";
  part.naming.showModal();
}

async function done() {
  try {
    const { summary } = await ask("done", {});
    document.body.replaceChildren(paragraph(`${summary}.`), paragraph("You can close this page."));
    document.body.className = "over";
    removeEventListener("keydown", pressed);
  } catch (error) {
    say(error.message, true);
  }
}

function pressed(event) {
  if (part.keys.open || part.naming.open || event.altKey || event.isComposing) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" || event.shiftKey) return;
    event.preventDefault();
    undo();
    return;
  }
  const onButton = document.activeElement?.matches("button:focus-visible");
  const action = actionOf(key, event.code, onButton);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) action(); // a key held down must not run through frames unseen
}

function actionOf(key, code, onButton) {
  if (key === "Enter" || key === " ") return onButton ? null : confirm;
  if (key === "ArrowLeft") return () => move(-1);
  if (key === "ArrowRight") return () => move(1);
  if (key === "?") return () => part.keys.showModal();
  // Where the layout gives no Latin letter or digit on its own (Cyrillic, AZERTY), the place of the key counts.
  const sign = /^[a-z0-9]$/.test(key) ? key : code.match(/^(?:Key|Digit)(\w)$/)?.[1].toLowerCase();
  if (sign === "u") return undo;
  if (sign === "x") return () => decide(null);
  if (sign === "n") return name;
  const label = state.labels[LABEL_KEYS.indexOf(sign)];
  return label === undefined ? null : () => decide(label);
}

function begin() {
  part.confirm.addEventListener("click", confirm);
  part.discard.addEventListener("click", () => decide(null));
  part.undo.addEventListener("click", undo);
  part.back.addEventListener("click", () => move(-1));
  part.forth.addEventListener("click", () => move(1));
  part.new.addEventListener("click", name);
  part.help.addEventListener("click", () => part.keys.showModal());
  part.done.addEventListener("click", done);
  part.cancel.addEventListener("click", () => part.naming.close());
  part.naming.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    part.naming.close();
    decide(part.name.value);
  });
  // A button that was clicked keeps no focus: the next Space is meant for the frame, not for that button again.
  addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
  addEventListener("keydown", pressed);
}

try {
  state = await ask("state");
  begin();
  const first = state.frames.findIndex((frame) => !frame.stands);
  await show(Math.max(first, 0));
  if (first < 0) say("Every frame is decided. Done ends the review.");
  else if (state.problems.length === 1) say(state.problems[0]);
  else if (state.problems.length) say(`${state.problems.length} files could not be used; the terminal names them.`);
} catch (error) {
  say(error.message, true);
}

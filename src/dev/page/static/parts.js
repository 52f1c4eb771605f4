// Uploads in parts: begun by presignd, sent by the browser, paused and resumed, and each part tried again where it fails.

import { ask } from "./ask.js";
import { failure, remember, send, sha256 } from "./store.js";
import { bytes, step } from "./show.js";

const PART = 5 * 1024 * 1024;
const AT_ONCE = 2;
const TRIES = 4;
const PLAN = "upload in parts";

export function start(acting) {
  const parts = step("parts");
  const [bar, grid] = [parts.find("progress"), parts.find(".grid")];
  const [go, pause, cancel] = ["start", "pause", "cancel"].map(parts.button);
  // { tenant, bucket, key, uploadId, size, partSize, name, done: { number: ETag } }: what a reload has to leave.
  let plan = JSON.parse(sessionStorage.getItem(PLAN) ?? "null");
  // What it need not: URLs by part number, the steps that end the upload, and how to stop what is under way.
  let urls = new Map();
  let steps = {};
  let running;

  const count = () => Math.max(1, Math.ceil(plan.size / plan.partSize));
  const numbers = () => Array.from({ length: count() }, (_, index) => index + 1);
  const missing = () => numbers().filter((number) => !plan.done[number]);
  const keep = () => plan ? sessionStorage.setItem(PLAN, JSON.stringify(plan)) : sessionStorage.removeItem(PLAN);

  const take = (answer) => {
    for (const part of answer.parts ?? []) urls.set(part.partNumber, part);
    for (const name of ["complete", "abort"]) if (answer[name]) steps[name] = answer[name];
  };
  const common = () => ({ expiresIn: "900s", reason: "the sandbox's page" });

  async function begin(file) {
    const { tenant, bucket, prefix } = acting();
    const key = `${prefix}page/parts/${file.name}`;
    const answer = await ask(parts, "StartMultipartUpload", {
      tenant,
      create: { bucket, key, contentType: file.type || "application/octet-stream" },
      size: String(file.size),
      partSize: String(PART),
      ...common(),
    });
    plan = { tenant, bucket, key, uploadId: answer.uploadId, size: file.size, partSize: Number(answer.partSize), name: file.name, done: {} };
    [urls, steps] = [new Map(), {}];
    take(answer);
    keep();
  }

  // URLs for these parts, and for the end.
  async function sign(partNumbers) {
    const { tenant, bucket, key, uploadId, size, partSize } = plan;
    take(await ask(parts, "PresignParts", {
      tenant,
      upload: { bucket, key, uploadId },
      partNumbers,
      size: String(size),
      partSize: String(partSize),
      completeAndAbort: true,
      ...common(),
    }));
  }

  function show(sent = new Map()) {
    grid.hidden = bar.hidden = false;
    if (grid.childElementCount !== count()) {
      grid.replaceChildren(...numbers().map((number) => Object.assign(document.createElement("li"), { textContent: number })));
    }
    for (const [index, cell] of [...grid.children].entries()) {
      const number = index + 1;
      if (plan.done[number]) cell.dataset.state = "done";
      else if (sent.has(number)) cell.dataset.state = "sending";
      else if (cell.dataset.state !== "failed") delete cell.dataset.state;
    }
    const whole = (number) => Math.min(plan.partSize, plan.size - (number - 1) * plan.partSize);
    let total = numbers().filter((number) => plan.done[number]).reduce((sum, number) => sum + whole(number), 0);
    for (const [number, loaded] of sent) total += Math.min(loaded, whole(number));
    bar.value = total / plan.size;
    return total;
  }

  async function sendOne(file, number, sent, signal) {
    const from = (number - 1) * plan.partSize;
    const body = file.slice(from, Math.min(from + plan.partSize, plan.size));
    for (let attempt = 1; ; attempt += 1) {
      let failed;
      try {
        sent.set(number, 0);
        const progress = (loaded) => {
          sent.set(number, loaded);
          parts.busy(`${bytes(show(sent))} of ${bytes(plan.size)}`);
        };
        const answer = await send(urls.get(number), body, { progress, signal });
        failed = failure(answer);
        const etag = answer.header("etag");
        if (!failed && !etag) throw new Error("The bucket's CORS rules do not expose ETag, without which no upload can be completed.");
        if (!failed) plan.done[number] = etag;
      } catch (error) {
        failed = error;
      }
      sent.delete(number);
      if (!failed) break;
      if (failed.name === "AbortError" || attempt === TRIES) throw failed;
      grid.children[number - 1].dataset.state = "failed";
      grid.dataset.retried = Number(grid.dataset.retried ?? 0) + 1;
      parts.busy(`Part ${number} failed, and is sent again with a new URL: ${failed.message}`);
      await new Promise((wait) => setTimeout(wait, 250 * 2 ** attempt));
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      await sign([number]);
    }
    keep();
    show(sent);
  }

  async function sendAll(file) {
    const sent = new Map();
    const waiting = missing();
    if (waiting.some((number) => !urls.has(number)) || !steps.complete) await sign(waiting.slice(0, 1000));
    const { signal } = running;
    const worker = async () => {
      for (let number; (number = waiting.shift()) && !signal.aborted;) {
        if (!urls.has(number)) await sign([number, ...waiting.slice(0, 999)]);
        await sendOne(file, number, sent, signal);
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, async () => {
      try {
        await worker();
      } catch (error) {
        // One part that cannot be sent ends all of it.
        if (!signal.aborted) running.abort();
        throw error;
      }
    }));
    const failed = ended.map(({ reason }) => reason).filter(Boolean);
    const real = failed.find(({ name }) => name !== "AbortError");
    if (real ?? failed[0]) throw real ?? failed[0];
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
  }

  async function complete(file) {
    const list = numbers().map((number) =>
      `<Part><PartNumber>${number}</PartNumber><ETag>${plan.done[number].replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</ETag></Part>`);
    parts.busy("All parts are there. Completing…");
    const answer = await send(steps.complete, `<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`);
    // S3 may say 200 first and think of an error later.
    const failed = failure(answer);
    if (failed) throw failed;
    const { bucket, key, size } = plan;
    remember(`${bucket}/${key}`, await sha256(file));
    plan = undefined;
    keep();
    parts.good(`S3 made one object of ${list.length} parts: ${key}, ${bytes(size)}`);
  }

  function buttons() {
    go.disabled = Boolean(running);
    pause.disabled = !running;
    cancel.disabled = !plan;
    go.textContent = plan && !running ? "Resume" : "Upload";
  }

  async function run() {
    const file = parts.file.files[0];
    if (!file) throw new Error(plan ? `Choose ${plan.name} again: a page may not keep a file.` : "Choose a file first.");
    if (plan && (file.name !== plan.name || file.size !== plan.size)) {
      throw new Error(`The upload under way is of ${plan.name}. Choose that file to resume it, or give it up.`);
    }
    if (!file.size) throw new Error("An empty file has no parts.");
    running = new AbortController();
    parts.exchange.replaceChildren();
    parts.busy(plan ? "Asking for new URLs…" : "Asking for an upload…");
    buttons();
    if (plan) [urls, steps] = [new Map(), {}];
    else {
      await begin(file);
      delete grid.dataset.retried;
    }
    buttons();
    show();
    await sendAll(file);
    await complete(file);
  }

  go.addEventListener("click", async () => {
    try {
      await run();
    } catch (error) {
      if (!plan) parts.busy("Giving up…");
      else if (error.name === "AbortError") {
        parts.busy(`Paused: ${numbers().length - missing().length} of ${count()} parts are there.`);
        show();
      } else parts.bad(error);
    }
    running = undefined;
    buttons();
  });

  pause.addEventListener("click", () => running?.abort());

  cancel.addEventListener("click", async () => {
    running?.abort();
    try {
      if (!steps.abort) await sign(missing().slice(0, 1));
      const failed = failure(await send(steps.abort));
      if (failed) throw failed;
      parts.good("Given up: S3 has thrown the parts away.");
    } catch (error) {
      parts.bad(error);
    }
    plan = undefined;
    keep();
    grid.hidden = bar.hidden = true;
    buttons();
  });

  addEventListener("acting", () => {
    if (plan && !running && plan.tenant === acting().tenant) {
      show();
      parts.busy(`An upload of ${plan.name} is under way: ${numbers().length - missing().length} of ${count()} parts are there. Choose the file again to resume it.`);
    }
    buttons();
  });
}

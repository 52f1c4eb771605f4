// Uploads by one PUT.

import { ask } from "./ask.js";
import { failure, remember, send, sha256 } from "./store.js";
import { bytes, step } from "./show.js";

export function start(acting) {
  const put = step("put");
  const bar = put.find("progress");
  const button = put.button("upload");

  async function upload() {
    const file = put.file.files[0];
    if (!file) throw new Error("Choose a file first.");
    put.exchange.replaceChildren();
    put.busy("Asking for a URL…");
    const { tenant, bucket, prefix } = acting();
    const key = `${prefix}page/put/${file.name}`;
    const signed = await ask(put, "Presign", {
      tenant,
      // Without contentType: the browser sends the file's own, and some stores fail to answer a preflight for a signed one.
      command: { putObject: { bucket, key } },
      expiresIn: "300s",
      reason: "the sandbox's page",
    });
    bar.hidden = false;
    const progress = (sent) => {
      bar.value = file.size ? Math.min(1, sent / file.size) : 1;
      put.busy(`${bytes(Math.min(sent, file.size))} of ${bytes(file.size)}`);
    };
    progress(0);
    const answer = await send(signed, file, { progress });
    const failed = failure(answer);
    if (failed) throw failed;
    progress(file.size);
    remember(`${bucket}/${key}`, await sha256(file));
    put.good(`S3 took it: ${key}, ${bytes(file.size)}, ETag ${answer.header("etag")}`);
  }

  button.addEventListener("click", async () => {
    button.disabled = true;
    await upload().catch(put.bad);
    button.disabled = false;
  });
}

// Downloads, and compares with what was uploaded.

import { ask } from "./ask.js";
import { failure, hashOf, reach, sha256, uploaded } from "./store.js";
import { bytes, link, step } from "./show.js";

export function start(acting) {
  const download = step("download");
  const key = download.find("input");

  function offer() {
    const { bucket } = acting();
    const own = uploaded().filter((place) => place.startsWith(`${bucket}/`)).map((place) => place.slice(bucket.length + 1));
    document.getElementById("keys").replaceChildren(...own.map((value) => Object.assign(document.createElement("option"), { value })));
    key.value = own.at(-1) ?? "";
    key.placeholder = own.length ? "" : "upload something first";
  }
  addEventListener("uploaded", offer);
  addEventListener("acting", offer);

  async function get() {
    download.exchange.replaceChildren();
    if (!key.value) throw new Error("Upload something first, or name a key.");
    download.busy("Asking for a URL…");
    const { tenant, bucket } = acting();
    const signed = await ask(download, "Presign", {
      tenant,
      command: { getObject: { bucket, key: key.value } },
      expiresIn: "300s",
      reason: "the sandbox's page",
    });
    const reply = await reach(signed.url);
    if (!reply.ok) throw failure({ status: reply.status, text: await reply.text() });
    const blob = await reply.blob();
    const [hash, before] = [await sha256(blob), hashOf(`${bucket}/${key.value}`)];
    if (before && before !== hash) throw new Error(`These are other bytes than went up: SHA-256 ${hash}`);
    const told = before ? "the same bytes that went up" : "not compared with anything";
    download.good(`${bytes(blob.size)}, ${told}. SHA-256 ${hash}\n`, link("Open the URL", signed.url));
  }

  download.button("download").addEventListener("click", () => get().catch(download.bad));
}

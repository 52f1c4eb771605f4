// Uploads by a POST policy: as a form that the browser submits, and by a script.

import { ask } from "./ask.js";
import { failure, reach, remember, sha256 } from "./store.js";
import { step } from "./show.js";

const LARGEST = 16 * 1024 * 1024;

export function start(acting) {
  const form = step("form");
  const element = form.find("form");

  async function sign(after) {
    const file = form.file.files[0];
    if (!file) throw new Error("Choose a file first.");
    form.exchange.replaceChildren();
    form.busy("Asking for a form…");
    const { tenant, bucket, prefix } = acting();
    const key = `${prefix}page/form/${file.name}`;
    const answer = await ask(form, "PresignPost", {
      tenant,
      bucket,
      key,
      contentLengthRange: { min: 1, max: LARGEST },
      ...(file.type && { contentType: file.type }),
      ...after,
      expiresIn: "300s",
      reason: "the sandbox's page",
    });
    remember(`${bucket}/${key}`, await sha256(file));
    return { answer, file, key };
  }

  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { answer } = await sign({ successActionRedirect: `${location.origin}/uploaded` });
      for (const earlier of element.querySelectorAll("input[type=hidden]")) earlier.remove();
      // S3 reads no field after the file.
      element.prepend(...answer.fields.map(({ name, value }) =>
        Object.assign(document.createElement("input"), { type: "hidden", name, value })));
      element.action = answer.url;
      element.submit();
    } catch (error) {
      form.bad(error);
    }
  });

  form.button("fetch").addEventListener("click", async () => {
    try {
      const { answer, file, key } = await sign({ successActionStatus: 201 });
      const body = new FormData();
      for (const { name, value } of answer.fields) body.append(name, value);
      body.append("file", file);
      const reply = await reach(answer.url, { method: "POST", body });
      const failed = failure({ status: reply.status, text: await reply.text() });
      if (failed) throw failed;
      form.good(`S3 took it: ${key}`);
    } catch (error) {
      form.bad(error);
    }
  });

  // S3 sent the browser back here, and says what it stored.
  const back = new URLSearchParams(location.search);
  if (location.pathname === "/uploaded") {
    form.good(`S3 took the form and sent the browser back: ${back.get("key")}, ETag ${back.get("etag")}`);
    history.replaceState(null, "", "/");
  }
}

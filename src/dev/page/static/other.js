// Reaches for what is another tenant's, and shows who stops it.

import { ask } from "./ask.js";
import { failure, reach } from "./store.js";
import { step } from "./show.js";

export function start(acting, other) {
  const own = step("other");
  const name = () => { own.find(".other").textContent = other()?.tenant ?? "another tenant"; };
  addEventListener("acting", name);

  async function attempt() {
    own.exchange.replaceChildren();
    const theirs = other();
    if (!theirs) throw new Error("There is no other tenant here.");
    own.busy("Asking for a URL…");
    const { tenant } = acting();
    const key = `${theirs.prefix}page/put/secret.txt`;
    const signed = await ask(own, "Presign", {
      tenant,
      command: { getObject: { bucket: theirs.bucket, key } },
      expiresIn: "300s",
      reason: "the sandbox's page",
    });
    own.busy("presignd signed it. Asking S3…");
    const reply = await reach(signed.url);
    const refused = failure({ status: reply.status, text: await reply.text() });
    if (!refused) throw new Error(`S3 let ${tenant} read ${theirs.bucket}: this role reaches too far.`);
    own.good(`Stopped by the store, as it should be. ${refused.message}`);
  }

  own.button("reach").addEventListener("click", () => attempt().catch((error) => {
    if (error.name === "Refused") own.good(`Stopped by presignd, before anything was signed. ${error.message}`);
    else own.bad(error);
  }));
}

// Learns what there is, and starts the steps.

import { setUp } from "./ask.js";
import { start as download } from "./download.js";
import { start as form } from "./form.js";
import { start as other } from "./other.js";
import { start as parts } from "./parts.js";
import { start as put } from "./put.js";

async function main() {
  const reply = await fetch("/api/setup");
  if (!reply.ok) throw new Error(await reply.text());
  const setup = await reply.json();
  setUp(setup);
  const { tenants, cors } = setup;
  if (!tenants.length) throw new Error("No tenant has a grant with a bucket in it: there is nothing to try.");

  const select = document.getElementById("tenant");
  select.append(...tenants.map(({ tenant }) => new Option(tenant, tenant)));
  const last = sessionStorage.getItem("tenant");
  if (tenants.some(({ tenant }) => tenant === last)) select.value = last;
  const acting = () => tenants.find(({ tenant }) => tenant === select.value);
  const others = () => tenants.find(({ bucket }) => bucket !== acting().bucket);
  for (const start of [form, put, parts, download, other]) start(acting, others);
  const announce = () => {
    sessionStorage.setItem("tenant", select.value);
    dispatchEvent(new Event("acting"));
  };
  select.addEventListener("change", announce);
  announce();

  const rules = document.getElementById("cors");
  rules.querySelector(".json").textContent = JSON.stringify(cors.json, null, 2);
  rules.querySelector(".xml").textContent = cors.xml;
  rules.querySelector(".state").textContent = cors.state;
  document.body.dataset.ready = "yes";
}

main().catch((error) => {
  const broken = document.getElementById("broken");
  broken.textContent = error.message;
  broken.hidden = false;
});

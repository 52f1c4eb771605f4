// Asks presignd, as any caller, by way of the server that this page is from; and shows what was asked and answered.

import { asked } from "./show.js";

let grpcurl = "";
export const setUp = (setup) => { grpcurl = setup.grpcurl; };

// As a shell takes it.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export async function ask(step, method, request) {
  const json = JSON.stringify(request, null, 2);
  const [options, address] = grpcurl.includes(" ") ? grpcurl.split(" ") : ["", grpcurl];
  const line = ["grpcurl", options, "-d", quoted(json), address, `presignd.v1.PresignService/${method}`];
  const answered = asked(step.exchange, method, line.filter(Boolean).join(" "));
  const reply = await fetch("/api/ask", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ method, request }),
  });
  if (!reply.ok) throw new Error(await reply.text());
  const { answer, refused } = await reply.json();
  answered(refused ? "Refused" : "Answered", JSON.stringify(answer ?? refused, null, 2));
  if (refused) throw Object.assign(new Error(`presignd refuses: ${inWords(refused)}`), { name: "Refused" });
  return answer;
}

function inWords({ message, details = [] }) {
  const broken = details.flatMap((detail) => detail.fieldViolations ?? []);
  return [message, ...broken.map(({ field, description }) => `${field}: ${description}`)].join("\n");
}

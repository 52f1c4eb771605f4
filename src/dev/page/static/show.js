// What a step shows: its result, and beside it what presignd was asked and answered.

export const step = (name) => {
  const section = document.getElementById(name);
  const find = (selector) => section.querySelector(selector);
  return {
    section,
    find,
    button: (name) => find(`[data-do=${name}]`),
    file: find("input[type=file]"),
    busy: (text) => say(section, "busy", text),
    good: (...nodes) => say(section, "good", ...nodes),
    bad: (error) => say(section, "bad", error.message ?? String(error)),
    exchange: find(".exchange"),
  };
};

function say(section, kind, ...nodes) {
  const result = section.querySelector(".result");
  result.className = `result ${kind}`;
  result.replaceChildren(...nodes);
}

export function link(text, href) {
  const link = document.createElement("a");
  link.textContent = text;
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener";
  return link;
}

// Adds what was asked; what comes back sets the answer below it.
export function asked(exchange, title, question) {
  const details = document.createElement("details");
  details.open = true;
  const summary = document.createElement("summary");
  summary.textContent = title;
  details.append(summary, heading("Asked"), code(question));
  for (const earlier of exchange.querySelectorAll("details")) earlier.open = false;
  exchange.append(details);
  return (heading_, answer) => details.append(heading(heading_), code(answer));
}

function heading(text) {
  const heading = document.createElement("h3");
  heading.textContent = text;
  return heading;
}

export function code(text) {
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.textContent = text;
  return pre;
}

export const bytes = (count) => {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
};

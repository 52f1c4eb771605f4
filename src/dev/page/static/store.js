// Sends requests to the store, as they were signed.

const UNREACHED = "The browser had no answer that it may show: the store is away, or no CORS rule of the bucket lets this page in.";

// fetch, in words of its own where it fails.
export const reach = (url, options) => fetch(url, options).catch(() => { throw new Error(UNREACHED); });

// What became of a signed request: { status, text, header(name) }. `progress` is told of the bytes sent so far.
export function send({ url, method, headers = {} }, body, { progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      // A browser writes these itself.
      if (!["content-length", "host"].includes(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => progress?.(event.loaded);
    request.onload = () => resolve({
      status: request.status,
      text: request.responseText,
      header: (name) => request.getResponseHeader(name),
    });
    request.onerror = () => reject(new Error(UNREACHED));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

// S3's error in an answer, in words; undefined where it is none.
export function failure({ status, text }) {
  const error = new DOMParser().parseFromString(text || "<none/>", "text/xml").querySelector("Error");
  if (status < 300 && !error) return undefined;
  const [code, message] = ["Code", "Message"].map((name) => error?.querySelector(name)?.textContent);
  return new Error(`S3 answers ${status}${code ? ` ${code}` : ""}${message ? `: ${message}` : ""}`);
}

export async function sha256(blob) {
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What was uploaded from here, with its hash, for as long as the tab is open.
const uploads = () => JSON.parse(sessionStorage.getItem("uploads") ?? "{}");
export const uploaded = () => Object.keys(uploads());
export const hashOf = (place) => uploads()[place];
export function remember(place, hash) {
  sessionStorage.setItem("uploads", JSON.stringify({ ...uploads(), [place]: hash }));
  dispatchEvent(new Event("uploaded"));
}

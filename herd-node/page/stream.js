// Server-sent events over fetch, which can carry a token; connects again for ever, and says so.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;
// Something is told each second: longer silence is a connection that is lost and does not know it.
const SILENCE = 10000;

export class Stream {
  #handlers; #token = null; #area = null; #abort = null; #attempt = 0;

  // handlers: event(name, data), state(state, words), token(words) -> Promise<string>
  constructor(handlers) {
    this.#handlers = handlers;
  }

  headers() {
    return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
  }

  // Begins anew with another area, [south, west, north, east] or null.
  watch(area) {
    this.#area = area;
    this.#abort?.abort("anew");
  }

  async run() {
    for (;;) {
      let why = "the node ended it";
      this.#abort = new AbortController();
      try {
        await this.#read(this.#abort);
      } catch (error) {
        if (this.#abort.signal.reason === "anew") continue;
        why = this.#abort.signal.reason === "silent" ? "nothing heard for 10 s" : error.message;
      }
      const wait = Math.min(FIRST_WAIT * 2 ** this.#attempt++, LONGEST_WAIT) * (0.75 + Math.random() / 2);
      this.#handlers.state("lost", `/api/v1/events: ${why}; again in ${(wait / 1000).toFixed(0)} s`);
      await new Promise((resolve) => setTimeout(resolve, wait));
      this.#handlers.state("connecting", "connecting");
    }
  }

  async #read(abort) {
    const query = this.#area ? `?area=${this.#area.map((edge) => edge.toFixed(5)).join(",")}` : "";
    let timer = setTimeout(() => abort.abort("silent"), SILENCE);
    try {
      const response = await fetch(`/api/v1/events${query}`, { headers: this.headers(), signal: abort.signal });
      if (response.status === 401 || response.status === 403) {
        clearTimeout(timer);
        this.#token = await this.#handlers.token(await response.text());
        this.#attempt = 0;
        throw new Error("a token is wanted");
      }
      if (!response.ok) throw new Error((await response.text()) || `HTTP ${response.status}`);
      this.#handlers.begin();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort("silent"), SILENCE);
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) this.#deliver(event);
        this.#attempt = 0;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #deliver(text) {
    const [first, second] = text.split("\n");
    this.#handlers.event(first.slice("event: ".length), JSON.parse(second.slice("data: ".length)));
  }
}

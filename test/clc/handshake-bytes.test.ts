/**
 * Client machine against server machine over a stream of bytes, cut in every way, with application data behind.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Agreement, LocalOffer } from "../../src/clc/agreement.js";
import { type ClientAction, clientHandshake, reduceClient } from "../../src/clc/client.js";
import { ClcFraming, LateFilter } from "../../src/clc/framing.js";
import { reduceServer, type ServerAction, serverHandshake } from "../../src/clc/server.js";
import { SAMPLES } from "../wire/messages.js";
import { device, endpoint, offer } from "./peers.js";

type Action = ClientAction | ServerAction;

/** A driver on a stream: what a socket layer does, without a socket. */
class Driver {
  readonly #framing = new ClcFraming();
  #filter: LateFilter | undefined;
  #state: object;
  #waits = false;
  agreement: Agreement | undefined;
  end = "";
  received = "";
  readonly outbox: number[] = [];

  constructor(
    readonly role: "client" | "server",
    local: LocalOffer,
    readonly greeting: string,
  ) {
    this.#state = role === "client" ? clientHandshake(local) : serverHandshake(local);
  }

  #pass(bytes: Uint8Array): void {
    this.received += Buffer.from(bytes).toString("latin1");
  }

  event(event: object): void {
    this.#waits = false;
    const reduce = (this.role === "client" ? reduceClient : reduceServer) as (
      state: object,
      event: object,
    ) => { state: object; actions: readonly Action[] };
    const { state, actions } = reduce(this.#state, event);
    this.#state = state;
    for (const action of actions) this.#execute(action);
  }

  #execute(action: Action): void {
    if (action.type === "send") this.outbox.push(...action.bytes);
    if (action.type === "register") this.event({ type: "registered", local: endpoint({ token: 1n }) });
    if (action.type === "attach") this.event({ type: "attached", local: endpoint({ token: 2n }) });
    if (action.type === "wait") {
      this.#waits = true;
      this.#read();
    }
    if (action.type === "agreed") this.agreement = action.agreement;
    if (action.type === "agreed" || action.type === "fallback") {
      this.end = action.type;
      this.#filter = new LateFilter(this.#framing);
      this.#pass(
        action.type === "fallback" && action.filterLate ? this.#filter.push(new Uint8Array(0)) : this.#filter.release(),
      );
      this.outbox.push(...Buffer.from(this.greeting, "latin1"));
    }
    if (action.type === "fail") this.end = (action.error as { code?: string }).code ?? action.error.message;
  }

  #read(): void {
    while (this.#waits) {
      const framed = this.#framing.next();
      if (framed.type === "partial") return;
      this.event(framed);
    }
  }

  bytes(chunk: Uint8Array): void {
    if (this.#filter) {
      this.#pass(this.#filter.push(chunk));
      return;
    }
    this.#framing.push(chunk);
    this.#read();
  }
}

/** Deliver what is on the wire in pieces of `size` until nothing moves. */
function run(client: Driver, server: Driver, size: number): void {
  while (client.outbox.length + server.outbox.length > 0) {
    server.bytes(Uint8Array.from(client.outbox.splice(0, size)));
    client.bytes(Uint8Array.from(server.outbox.splice(0, size)));
  }
}

function pair(clientOffer: LocalOffer, serverOffer: LocalOffer): { client: Driver; server: Driver } {
  const client = new Driver("client", clientOffer, "hello, server");
  const server = new Driver("server", serverOffer, "hello, client");
  server.event({ type: "start" });
  client.event({ type: "start" });
  return { client, server };
}

const SIZES = [1, 2, 3, 7, 8, 31, 64, 1000];

for (const version of [1, 2] as const)
  test(`version ${version}: both sides end with each other's endpoint, in pieces of any size`, () => {
    for (const size of SIZES) {
      const { client, server } = pair(offer({ version }), offer({ hostName: "node-2" }));
      run(client, server, size);
      assert.is(`${client.end} ${server.end}`, "agreed agreed", `pieces of ${size}`);
      const [own, theirs] = [client.agreement!, server.agreement!];
      assert.is(own.peer.token, theirs.local.token);
      assert.is(theirs.peer.token, own.local.token);
      assert.is(own.peer.version, version);
      assert.is(theirs.peer.version, version);
      assert.is(own.peer.eid, theirs.peer.eid);
      assert.is(own.peer.hostName, version === 1 ? undefined : "node-2");
      assert.is(own.featureMask, theirs.featureMask);
      assert.equal([client.received, server.received], ["hello, client", "hello, server"]);
    }
  });

test("a Decline of the server: both go on as TCP and read exactly what the other wrote", () => {
  for (const size of SIZES) {
    const { client, server } = pair(offer(), offer({ devices: [device({ gid: 9n, v1: false })] }));
    run(client, server, size);
    assert.is(`${client.end} ${server.end}`, "fallback fallback");
    assert.equal([client.received, server.received], ["hello, client", "hello, server"]);
  }
});

test("a client that gives up before the server has read anything: the late Accept or Decline is swallowed", () => {
  for (const serverOffer of [offer(), offer({ devices: [] })])
    for (const size of SIZES) {
      const { client, server } = pair(offer(), serverOffer);
      client.event({ type: "timeout" });
      run(client, server, size);
      assert.is(`${client.end} ${server.end}`, "fallback fallback");
      assert.equal([client.received, server.received], ["hello, client", "hello, server"], `pieces of ${size}`);
    }
});

test("a client without SMC loses no byte, whatever it writes first", () => {
  const openings = [
    "GET / HTTP/1.1\r\n",
    "\u00e2\u0082\u00ac",
    "\u00e2\u00d4\u00c3\u00d9hello",
    "\u00e2\u00d4\u00c3\u00d9\u0001\u0000",
  ];
  for (const opening of openings)
    for (const size of SIZES) {
      const server = new Driver("server", offer(), "");
      server.event({ type: "start" });
      const bytes = Buffer.from(`${opening} and more`, "latin1");
      for (let at = 0; at < bytes.length; at += size) server.bytes(bytes.subarray(at, at + size));
      assert.is(server.end, "fallback");
      assert.is(server.received, `${opening} and more`);
      assert.is(server.outbox.length, 0, "no byte that is not the application's");
    }
});

test("a server without SMC that answers fails the client's connection", () => {
  const client = new Driver("client", offer(), "");
  client.event({ type: "start" });
  client.bytes(Buffer.from("HTTP/1.1 400 Bad Request\r\n"));
  assert.is(client.end, "EPROTO");
});

test("every message that is not the expected one ends the wait for it, never silently", () => {
  for (const { name, value, bytes } of SAMPLES) {
    const server = new Driver("server", offer(), "");
    server.event({ type: "start" });
    server.bytes(bytes);
    const expected = value.type === "Proposal" || value.type === "Decline" ? /^(fallback|)$/ : /^EPROTO$/;
    assert.match(server.end, expected, name);
    assert.ok(server.end !== "" || server.outbox.length > 0, name);
  }
});

test("a message cut short by the end of the stream is a reset", () => {
  const { bytes } = SAMPLES[2];
  const server = new Driver("server", offer(), "");
  server.event({ type: "start" });
  server.bytes(bytes.subarray(0, 100));
  server.event({ type: "eof" });
  assert.is(server.end, "ECONNRESET");
});

test.run();

/**
 * How the command line prints: the socket table of `ss` and the statistics of `stats show`.
 *
 * Owns columns, widths, units and selection. Turns plain records into text; knows neither where they come from nor
 * where the text goes. Layout of both is that of the field's tools, so that scripts which read those read these.
 * Source: smc-protocol §11.5, §11.2 (what a socket record holds).
 */
import type { CountersSnapshot, FallbackCounts } from "../diag/counters.js";
import type { AddressRecord, CursorRecord, DmbRecord, SocketRecord } from "../diag/records.js";

/** As the options of smcss: -a, -l, -d, -D, -W. */
export interface SocketTableOptions {
  readonly all?: boolean;
  readonly listening?: boolean;
  readonly debug?: boolean;
  readonly smcd?: boolean;
  readonly wide?: boolean;
}

const ADDRESS_WIDTH = 23;

const HEAD = "State          UID   Inode   Local Address           Peer Address            Intf Mode ";
const HEAD_DEBUG =
  "Shutd Token    Sndbuf   Rcvbuf   Peerbuf  rxprod-Cursor rxcons-Cursor rxFlags " +
  "txprod-Cursor txcons-Cursor txFlags txprep-Cursor txsent-Cursor txfin-Cursor  ";
const HEAD_SMCD = "GID              Token            Peer-GID         Peer-Token       Linkid";

/** Interface a socket was bound to by option. Node offers no such option. */
const UNBOUND = "0000";

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
const cursor = ({ wrap, count }: CursorRecord): string => `${hex(wrap, 4)}:${hex(count, 8)} `;
const flags = (producer: number, state: number): string => `${hex(producer, 2)}:${hex(state, 2)}   `;
const reason = (code: number): string => `0x${hex(code, 8)}`;

function address(at: AddressRecord | undefined, wide: boolean): string {
  if (at === undefined) return " ".repeat(ADDRESS_WIDTH);
  const port = `:${at.port}`;
  const fits = wide || at.address.length + port.length <= ADDRESS_WIDTH;
  const host = fits ? at.address : `${at.address.slice(0, ADDRESS_WIDTH - port.length - 2)}..`;
  return `${host}${port}`.padEnd(ADDRESS_WIDTH);
}

function debugColumns({ shutdown, conn }: SocketRecord): string {
  const shut = ` ${shutdown.receive ? "R" : "<"}-${shutdown.send ? "W" : ">"}  `;
  if (conn === undefined) return shut;
  const sizes = [conn.token, conn.sndbufBytes, conn.rmbeBytes, conn.peerRmbeBytes];
  return [
    shut,
    ...sizes.map((value) => `${hex(value, 8)} `),
    cursor(conn.rxProd),
    cursor(conn.rxCons),
    flags(conn.rxProducerFlags, conn.rxStateFlags),
    cursor(conn.txProd),
    cursor(conn.txCons),
    flags(conn.txProducerFlags, conn.txStateFlags),
    cursor(conn.txPrep),
    cursor(conn.txSent),
    cursor(conn.txFin),
  ].join("");
}

function dmbColumns({ gid, token, peerGid, peerToken, linkId }: DmbRecord): string {
  return `${[gid, token, peerGid, peerToken].map((id) => id.padStart(16, "0")).join(" ")} ${hex(linkId, 8)}`;
}

function socketLine(socket: SocketRecord, options: SocketTableOptions): string {
  const wide = options.wide ?? false;
  const uid = String(socket.uid).padStart(5, "0");
  let line = `${socket.state.padEnd(14)} ${uid} ${String(socket.inode).padStart(7, "0")} `;
  if (socket.state === "INIT") return line;
  line += `${address(socket.local, wide)} `;
  if (socket.state === "LISTEN") return line;
  line += `${address(socket.peer, wide)} ${UNBOUND} `;
  if (socket.state === "CLOSED") return line;
  if (socket.mode === "TCP") {
    const { code, peerDiagnosis } = socket.fallback ?? {};
    const codes = code === undefined ? "" : reason(code) + (peerDiagnosis ? `/${reason(peerDiagnosis)}` : "");
    return `${line}TCP ${codes}`;
  }
  line += `${socket.mode} `;
  if (options.debug) line += debugColumns(socket);
  if (options.smcd && socket.dmb !== undefined) line += dmbColumns(socket.dmb);
  return line;
}

function selected(socket: SocketRecord, { all, listening, smcd }: SocketTableOptions): boolean {
  if (smcd && socket.mode !== "SMCD") return false;
  if (listening) return socket.state === "LISTEN";
  return all || (socket.state !== "LISTEN" && socket.state !== "INIT");
}

/**
 * The table of `ss`: a heading and one line for each socket selected.
 *
 * Without options all connected sockets. `all` adds opening and listening ones, `listening` shows those alone, `smcd`
 * SMC-D sockets alone, with their names; `debug` adds sizes, cursors and flags, in hexadecimal; `wide` never shortens
 * an address. Lines have no blanks at their ends; the text ends with a line feed.
 */
export function renderSockets(sockets: readonly SocketRecord[], options: SocketTableOptions = {}): string {
  const heading = HEAD + (options.debug ? HEAD_DEBUG : "") + (options.smcd ? HEAD_SMCD : "");
  const lines = sockets.filter((socket) => selected(socket, options)).map((socket) => socketLine(socket, options));
  return [heading, ...lines].map((line) => `${line.trimEnd()}\n`).join("");
}

const MAGNITUDES = ["", "K", "M", "G", "T", "P", "E"];

/** A count in at most six characters: as it is below 1000, else four digits and a decimal magnitude, "196.6K". */
export function abbreviate(value: number): string {
  if (value < 1000) return String(value);
  let scaled = value;
  for (const magnitude of MAGNITUDES) {
    if (scaled < 1000)
      for (const places of [3, 2, 1]) {
        const digits = scaled.toFixed(places);
        if (digits.length <= 5) return digits + magnitude;
      }
    scaled /= 1000;
  }
  return "999.9E";
}

const counted = (label: string, value: number, note = ""): string =>
  `${label.padEnd(29)}${String(value).padStart(12)}${note === "" ? "" : ` (${note})`}`;
const percent = (part: number, whole: number): string => `${(whole === 0 ? 0 : (part / whole) * 100).toFixed(2)}%`;
const sides = (client: number, server: number): string => `client ${client}, server ${server}`;

const BIN_HEADING = "            8KB    16KB    32KB    64KB   128KB   256KB   512KB  >512KB";

/** Eight columns for nine bins: the two above 512 KiB are one here. */
function histogram(label: string, bins: readonly number[]): string {
  const columns = [...bins.slice(0, 7), bins.slice(7).reduce((sum, count) => sum + count, 0)];
  return `  ${label.padEnd(7)}${columns.map((count) => abbreviate(count).padStart(6)).join("  ")}`;
}

function topReasons(title: string, { reasons }: FallbackCounts, name: (code: number) => string): string[] {
  if (reasons.length === 0) return [];
  const top = [...reasons].sort((a, b) => b.count - a.count).slice(0, 3);
  return [
    `    ${title}`,
    ...top.map(({ code, count }) => `     ${name(code).padEnd(24)}${String(count).padStart(12)}`),
  ];
}

export interface StatsOptions {
  /** -d: by version and side, the three most frequent fallback reasons per side, downgrades, reuses, special calls. */
  readonly details: boolean;
  /** Printed name of a fallback code. */
  readonly reasonName: (code: number) => string;
}

function connectionLines(counts: CountersSnapshot, { details, reasonName }: StatsOptions): string[] {
  const { clientV1, clientV2, serverV1, serverV2, clientHandshakeErrors, serverHandshakeErrors, fallback } = counts;
  const smc = clientV1 + clientV2 + serverV1 + serverV2;
  const errors = clientHandshakeErrors + serverHandshakeErrors;
  const fallbacks = fallback.client.total + fallback.server.total;
  const perConn = smc === 0 ? 0 : (counts.rxRequests + counts.txRequests) / smc;
  const split = (client: number, server: number): string => (details ? sides(client, server) : "");
  const lines = [
    "SMC-D Connections Summary",
    counted("  Total connections handled", smc + errors + fallbacks),
    counted("  SMC connections", smc, split(clientV1 + clientV2, serverV1 + serverV2)),
  ];
  if (details) lines.push(counted("    v1", clientV1 + serverV1), counted("    v2", clientV2 + serverV2));
  lines.push(
    counted("  Handshake errors", errors, split(clientHandshakeErrors, serverHandshakeErrors)),
    `  Avg requests per SMC conn  ${perConn.toFixed(1).padStart(14)}`,
    counted("  TCP fallback", fallbacks, split(fallback.client.total, fallback.server.total)),
  );
  if (details)
    lines.push(
      ...topReasons("Server", fallback.server, reasonName),
      ...topReasons("Client", fallback.client, reasonName),
    );
  return lines;
}

function directionLines(counts: CountersSnapshot, way: "rx" | "tx", details: boolean): string[] {
  const requests = counts[`${way}Requests`];
  const share = (label: string, value: number): string => counted(`  ${label}`, value, percent(value, requests));
  const lines = [
    `${way.toUpperCase()} Stats`,
    counted("  Data transmitted (Bytes)", counts[`${way}Bytes`], abbreviate(counts[`${way}Bytes`])),
    counted("  Total requests", requests),
    counted("  Buffer usage (Bytes)", counts[`${way}InUse`], abbreviate(counts[`${way}InUse`])),
    share("Buffer full", counts[`${way}Full`]),
  ];
  if (way === "tx")
    lines.push(
      share("Buffer full (remote)", counts.txFullAtPeer),
      share("Buffer too small", counts.txTooSmall),
      share("Buffer too small (remote)", counts.txTooSmallAtPeer),
    );
  if (details)
    lines.push(
      counted("  Buffer downgrades", counts[`${way}Downgraded`]),
      counted("  Buffer reuses", counts[`${way}Reused`]),
    );
  return [...lines, BIN_HEADING, histogram("Bufs", counts[`${way}Buffers`]), histogram("Reqs", counts[`${way}Sizes`])];
}

function extraLines(counts: CountersSnapshot, details: boolean): string[] {
  const { cork, nodelay, sendpage, splice, urgentData } = counts;
  const lines = ["Extras", counted("  Special socket calls", cork + nodelay + sendpage + splice + urgentData)];
  if (details)
    lines.push(
      counted("    cork", cork),
      counted("    nodelay", nodelay),
      counted("    sendpage", sendpage),
      counted("    splice", splice),
      counted("    urgent data", urgentData),
    );
  return lines;
}

/** What no kernel counts: how the event loop found its work. */
function loopLines(counts: CountersSnapshot): string[] {
  return [
    "Event Loop",
    counted("  Busy poll turns", counts.busyPollTurns),
    counted("  Busy poll hits", counts.busyPollHits, percent(counts.busyPollHits, counts.busyPollTurns)),
    counted("  Busy poll time (us)", counts.busyPollUs),
    counted("  Parks", counts.parks),
    counted("  Doorbells rung", counts.doorbellRung),
    counted("  Doorbells rescued", counts.doorbellRescued),
    counted("  Consumer updates", counts.consUpdates),
    counted("  Aborts", counts.aborts),
  ];
}

/** The text of `stats show`. Sections as in the field's tool, then the event loop's own. Ends with a line feed. */
export function renderStats(counts: CountersSnapshot, options: StatsOptions): string {
  const sections = [
    connectionLines(counts, options),
    directionLines(counts, "rx", options.details),
    directionLines(counts, "tx", options.details),
    extraLines(counts, options.details),
    loopLines(counts),
  ];
  return `${sections.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

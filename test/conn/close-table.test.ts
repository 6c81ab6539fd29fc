/** The close table, printed and compared with the text below: a change of behaviour shows as a change of this text. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CLOSE_TABLE, type CloseEvent, type Row } from "../../src/conn/close-table.js";
import { type ConnState, SOCKET_STATES } from "../../src/conn/states.js";

const MATRIX = `
Active
  appShutdown  PeerCloseWait1 + done
  appClose     PeerCloseWait1 + final
  peerDone     AppCloseWait1
  peerClosed   AppCloseWait1
  peerAbort    ProcessAbort
  localAbort   PeerAbortWait + abort
PeerCloseWait1
  appShutdown  stay
  appClose     closeCalled: PeerCloseWait1 | PeerCloseWait1 + final
  peerDone     PeerCloseWait2
  peerClosed   closeCalled: Closed | AppFinCloseWait
  peerAbort    closeCalled: Closed | ProcessAbort
  localAbort   closeCalled: Closed + abort | PeerAbortWait + abort
PeerCloseWait2
  appShutdown  stay
  appClose     closeCalled: PeerCloseWait2 | PeerCloseWait2 + final
  peerDone     stay
  peerClosed   closeCalled: Closed | AppFinCloseWait
  peerAbort    closeCalled: Closed | ProcessAbort
  localAbort   closeCalled: Closed + abort | PeerAbortWait + abort
AppCloseWait1
  appShutdown  AppCloseWait2 + done
  appClose     rxAnyClose: Closed + final | PeerFinCloseWait + final
  peerDone     stay
  peerClosed   stay
  peerAbort    ProcessAbort
  localAbort   PeerAbortWait + abort
AppCloseWait2
  appShutdown  stay
  appClose     rxAnyClose: Closed + final | PeerFinCloseWait + final
  peerDone     stay
  peerClosed   stay
  peerAbort    ProcessAbort
  localAbort   PeerAbortWait + abort
AppFinCloseWait
  appShutdown  stay
  appClose     Closed + final
  peerDone     stay
  peerClosed   stay
  peerAbort    ProcessAbort
  localAbort   PeerAbortWait + abort
PeerFinCloseWait
  appShutdown  stay
  appClose     stay
  peerDone     stay
  peerClosed   Closed
  peerAbort    Closed
  localAbort   Closed + abort
PeerAbortWait
  appShutdown  stay
  appClose     Closed
  peerDone     stay
  peerClosed   stay
  peerAbort    stay
  localAbort   stay
ProcessAbort
  appShutdown  stay
  appClose     Closed + abort
  peerDone     stay
  peerClosed   stay
  peerAbort    stay
  localAbort   PeerAbortWait + abort
Closed
  appShutdown  stay
  appClose     stay
  peerDone     stay
  peerClosed   stay
  peerAbort    stay
  localAbort   stay
`;

type Cells = [ConnState, [CloseEvent, readonly Row[]][]][];
const cells = Object.entries(CLOSE_TABLE).map(([state, row]) => [state, Object.entries(row)]) as Cells;

function printRow({ when, next, send }: Row): string {
  return `${when === undefined ? "" : `${when}: `}${next}${send === undefined ? "" : ` + ${send}`}`;
}

const table = suite("close table");

table("printed, it reads as stored", () => {
  const lines = cells.flatMap(([state, events]) => [
    state,
    ...events.map(([event, rows]) => `  ${event.padEnd(11)}  ${rows.map(printRow).join(" | ") || "stay"}`),
  ]);
  assert.fixture(lines.join("\n"), MATRIX.trim());
});

table("every list of rows ends with one that always applies, and no row comes after it", () => {
  for (const [state, events] of cells)
    for (const [event, rows] of events)
      rows.forEach((row, at) => {
        assert.is(row.when === undefined, at === rows.length - 1, `${state} ${event}`);
      });
});

table("Closed is entered only by the application's close or after it, and never left", () => {
  for (const [state, events] of cells)
    for (const [event, rows] of events)
      for (const row of rows) {
        if (state === "Closed") assert.unreachable(`Closed has a row for ${event}`);
        const afterClose = event === "appClose" || row.when === "closeCalled" || state === "PeerFinCloseWait";
        if (row.next === "Closed") assert.ok(afterClose, `${state} ${event}`);
      }
});

table("the numbers and names of the states are those smcss and sock_diag use", () => {
  assert.equal(
    Object.values(SOCKET_STATES).map(({ number, printed }) => `${number} ${printed}`),
    [
      "1 ACTIVE",
      "2 INIT",
      "7 CLOSED",
      "10 LISTEN",
      "20 PEERCLOSEWAIT1",
      "21 PEERCLOSEWAIT2",
      "22 APPCLOSEWAIT1",
      "23 APPCLOSEWAIT2",
      "24 APPFINCLOSEWAIT",
      "25 PEERFINCLOSEWAIT",
      "26 PEERABORTWAIT",
      "27 PROCESSABORT",
    ],
  );
});

table.run();

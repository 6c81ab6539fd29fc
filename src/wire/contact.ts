/**
 * The channel between two processes: frames of 320 bytes on a unix socket, some of them with descriptors.
 *
 * Owns the layout. This is no SMC message: it stands for what a driver and its bus tell each other before an ISM device is
 * there. Source: ARCHITECTURE.md, "Between processes".
 */
import { bytes, malformed, reserved, struct, u8, u16be, u32be, u64be } from "./field.js";

export const CONTACT_FRAME_SIZE = 320;
const MAGIC = 0x534d4355;
const VERSION = 2;
const TYPES = { contact: 1, answer: 2, extent: 3 } as const;
const EID_SIZE = 32;
const MOST_EIDS = 8;

const head = { magic: u32be, version: u8, type: u8, layout: u16be };
const body = CONTACT_FRAME_SIZE - 8;
/** Common to both directions of a contact. */
const meeting = {
  ...head,
  gid: u64be,
  nonce: u64be,
  generation: u32be,
  slot: u8,
  eidCount: u8,
};
const contactForm = struct("contact", {
  ...meeting,
  first: u8,
  gifts: u8,
  wantedGid: u64be,
  wantedGeneration: u32be,
  wantedSlot: u8,
  reserved: reserved(3),
  mostBlocks: u32be,
  eids: bytes(EID_SIZE * MOST_EIDS),
  probe: u64be,
});
const answerForm = struct("answer", {
  ...meeting,
  refusal: u8,
  gifts: u8,
  reached: u8,
  reserved: reserved(15),
  mostBlocks: u32be,
  eids: bytes(EID_SIZE * MOST_EIDS),
});
const anyForm = struct("channel frame", { ...head, reserved: reserved(body) });
const extentForm = struct("extent", {
  ...head,
  number: u8,
  _: reserved(1),
  blocks: u16be,
  reserved: reserved(body - 4),
});

interface Meeting {
  /** GID of the sender's process. */
  readonly gid: bigint;
  /** Names the pair: drawn by whoever made first contact. */
  readonly nonce: bigint;
  readonly slot: number;
  readonly generation: number;
  readonly eids: readonly string[];
  /** Blocks of extents that the sender wants to share with the other process at most, each way. First contact settles it. */
  readonly mostBlocks: number;
  /** Write end of the sender's bell and memfd of its box come with the frame, in this order. */
  readonly gifts: boolean;
}
/** A stack asks a stack of another process for its gifts, and brings its own unless they are there already. */
export interface ContactFrame extends Meeting {
  readonly type: "contact";
  /** The processes have nothing in common yet. */
  readonly first: boolean;
  readonly wanted: { readonly gid: bigint; readonly slot: number; readonly generation: number };
  /** Nonce of a datagram that is on its way to the other stack (probe.ts); 0 for none. */
  readonly probe: bigint;
}
/** What the other stack says. */
export interface AnswerFrame extends Meeting {
  readonly type: "answer";
  /** 0, or why not. */
  readonly refusal: number;
  /** The contact's probe has come. */
  readonly reached: boolean;
}
/** Goes with the memfd of an extent of the sender. */
export interface ExtentFrame {
  readonly type: "extent";
  readonly number: number;
  readonly blocks: number;
}
export type ChannelFrame = ContactFrame | AnswerFrame | ExtentFrame;

export const REFUSAL = {
  none: 0,
  unknownStack: 1,
  unknownPair: 2,
  noCommonEid: 3,
  noRoom: 4,
  layout: 5,
  notAllowed: 6,
};

/** For people; a number where the code is unknown here. */
export const refusalName = (code: number): string =>
  Object.entries(REFUSAL).find(([, known]) => known === code)?.[0] ?? `code ${code}`;

function packEids(eids: readonly string[]): { eidCount: number; eids: Uint8Array } {
  const packed = Buffer.alloc(EID_SIZE * MOST_EIDS);
  for (const [i, eid] of eids.slice(0, MOST_EIDS).entries()) packed.write(eid, EID_SIZE * i, EID_SIZE, "latin1");
  return { eidCount: Math.min(eids.length, MOST_EIDS), eids: packed };
}

function unpackEids(count: number, packed: Uint8Array): string[] {
  const text = Buffer.from(packed).toString("latin1");
  return Array.from({ length: count }, (_, i) => text.slice(EID_SIZE * i, EID_SIZE * (i + 1)).replace(/\0+$/, ""));
}

/** Takes: layout, of the sender's shared memory. Errors: SmcError EINVAL for a value that does not fit. */
export function encodeChannelFrame(frame: ChannelFrame, layout: number): Uint8Array {
  const out = new Uint8Array(CONTACT_FRAME_SIZE);
  const common = { magic: MAGIC, version: VERSION, type: TYPES[frame.type], layout };
  switch (frame.type) {
    case "contact": {
      const { wanted, first, gifts, eids, ...rest } = frame;
      const flags = { first: first ? 1 : 0, gifts: gifts ? 1 : 0 };
      const who = { wantedGid: wanted.gid, wantedSlot: wanted.slot, wantedGeneration: wanted.generation };
      contactForm.encode({ ...rest, ...common, ...flags, ...who, ...packEids(eids) }, out);
      break;
    }
    case "answer": {
      const { gifts, reached, eids, ...rest } = frame;
      const flags = { gifts: gifts ? 1 : 0, reached: reached ? 1 : 0 };
      answerForm.encode({ ...rest, ...common, ...flags, ...packEids(eids) }, out);
      break;
    }
    case "extent":
      extentForm.encode({ ...frame, ...common }, out);
  }
  return out;
}

/** Takes a whole frame. Errors: SmcError EPROTO; another layout is one. */
export function decodeChannelFrame(frame: Uint8Array, layout: number): ChannelFrame {
  if (frame.length !== CONTACT_FRAME_SIZE)
    throw malformed("channel frame", "length", 0, `is not ${CONTACT_FRAME_SIZE}`, frame.length);
  const common = anyForm.decode(frame);
  if (common.magic !== MAGIC) throw malformed("channel frame", "magic", 0, "is another", common.magic);
  if (common.version !== VERSION)
    throw malformed("channel frame", "version", 4, `is ${common.version}, not ${VERSION}`, common.version);
  if (common.layout !== layout)
    throw malformed("channel frame", "layout", 6, `is ${common.layout}, not ${layout}`, common.layout);
  switch (common.type) {
    case TYPES.contact: {
      const { gid, nonce, slot, generation, first, gifts, eidCount, eids, ...rest } = contactForm.decode(frame);
      checkMeeting("contact", slot, generation, eidCount);
      return {
        type: "contact",
        gid,
        nonce,
        slot,
        generation,
        first: first === 1,
        gifts: gifts === 1,
        eids: unpackEids(eidCount, eids),
        mostBlocks: rest.mostBlocks,
        wanted: { gid: rest.wantedGid, slot: rest.wantedSlot, generation: rest.wantedGeneration },
        probe: rest.probe,
      };
    }
    case TYPES.answer: {
      const { gifts, reached, eidCount, eids, ...rest } = answerForm.decode(frame);
      const { gid, nonce, slot, generation, refusal, mostBlocks } = rest;
      if (refusal === REFUSAL.none) checkMeeting("answer", slot, generation, eidCount);
      const known = eidCount <= MOST_EIDS ? eidCount : 0;
      const common = { gid, nonce, slot, generation, refusal, mostBlocks, eids: unpackEids(known, eids) };
      return { type: "answer", ...common, gifts: gifts === 1, reached: reached === 1 };
    }
    case TYPES.extent: {
      const { number, blocks } = extentForm.decode(frame);
      return { type: "extent", number, blocks };
    }
    default:
      throw malformed("channel frame", "type", 5, "is unknown", common.type);
  }
}

/** Source: capacities of assembly/shared/layout.ts; generations count from 1 and have 24 bits. */
function checkMeeting(name: string, slot: number, generation: number, eidCount: number): void {
  if (slot >= 64) throw malformed(name, "slot", 28, "is not below 64", slot);
  if (generation === 0 || generation >= 1 << 24) throw malformed(name, "generation", 24, "is out of range", generation);
  if (eidCount > MOST_EIDS) throw malformed(name, "eidCount", 29, `is above ${MOST_EIDS}`, eidCount);
}

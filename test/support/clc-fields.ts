/**
 * What tshark should print for a CLC message: the value of every field, from the message itself.
 *
 * Owns the names of the dissector's fields. Source: smc-protocol §12.3.
 */
import { decodeClc } from "../../src/wire/clc.js";
import type { Decline } from "../../src/wire/clc-decline.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import type { SmcdAnswer } from "../../src/wire/clc-smcd.js";
import type { SmcrAnswer } from "../../src/wire/clc-smcr.js";

/** Expected values by field, without the prefix "smc.". */
export type Expected = Readonly<Record<string, string | readonly string[]>>;

const hex = (digits: number) => (value: number | bigint) => `0x${value.toString(16).padStart(digits, "0")}`;
const [hex8, hex16, hex24, hex32, hex64] = [2, 4, 6, 8, 16].map(hex);
const number64 = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString("hex")}`;
const mac = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
const padded = (text: string): string => text.padEnd(32, " ");
const bit = (flag: boolean): string => (flag ? "1" : "0");
const PATH_NUMBER = { R: "0", D: "1", N: "2", B: "3" };

function proposalFields({ version, typev1, typev2, smcd, prefixes, v2 }: Proposal): Expected {
  const fields: Record<string, string | readonly string[]> = {
    "proposal.smc.version": String(version),
    "proposal.smc.type": PATH_NUMBER[typev1],
    "proposal.ism.gid": [smcd!.gid, ...(v2?.smcd?.entries.map(({ gid }) => gid) ?? [])].map(hex64),
  };
  if (prefixes) {
    fields["outgoing.interface.subnet.mask"] = [24, 16, 8, 0]
      .map((at) => (prefixes.ipv4Network >>> at) & 0xff)
      .join(".");
    fields["outgoing.interface.subnet.mask.number.of.significant.bits"] = String(prefixes.ipv4Length);
  }
  if (!v2) return fields;
  return {
    ...fields,
    "proposal.smcv2.type": PATH_NUMBER[typev2],
    "proposal.smc.chid": [smcd!.chid, ...v2.smcd!.entries.map(({ chid }) => chid)].map(hex16),
    "proposal.smc.version.relnum": String(v2.release),
    "proposal.smc.seid": bit(v2.seidValid),
    "proposal.eid": v2.ueids.map(padded),
  };
}

function smcdFields(answer: SmcdAnswer): Expected {
  const { version, firstContact, gid, token, dmbeIndex, dmbeSize, linkId, v2 } = answer;
  const [role, sender, own] =
    answer.type === "Accept" ? ["accept", "server", "server"] : ["confirm", "client", "client"];
  const fields: Record<string, string> = {
    "proposal.smc.version": String(version),
    [`${role}.smc.type`]: "1",
    [`${role}.first.contact`]: bit(firstContact),
    [`${role}.sender.${sender}.ism.gid`]: hex64(gid),
    [`${role}.dmb.token`]: hex64(token),
    [`${role}.dmbe.conn.index`]: String(dmbeIndex),
    [`${role}.dmbe.buffer.size`]: String(dmbeSize),
    [`${role}.${own}.linkid`]: hex32(linkId),
  };
  if (v2) {
    fields[`${role}.smc.chid`] = hex16(v2.chid);
    fields[`${role}.eid`] = padded(v2.eid);
  }
  if (v2?.extension) {
    fields[`${role}.os.type`] = String(v2.extension.os);
    fields[`${role}.smc.version.relnum`] = String(v2.extension.release);
    fields[`${role}.peer.host.name`] = padded(v2.extension.hostName);
  }
  return fields;
}

function smcrFields(answer: SmcrAnswer): Expected {
  const { peerId, qpNumber, rkey, rmbeIndex, alertToken, rmbeSize, mtu, address, psn } = answer;
  const accept = answer.type === "Accept";
  const role = accept ? "accept" : "confirm";
  const own = accept ? "accept.server" : "confirm.client";
  const element = accept ? "accept.server" : "client";
  return {
    "proposal.smc.version": String(answer.version),
    [`${role}.sender.${accept ? "server" : "client"}.peer.id`]: number64(peerId),
    [accept ? "accept.server.preferred.mac" : "confirm.client.mac"]: mac(answer.mac),
    [`${own}.qp.number`]: hex24(qpNumber),
    [`${own}.rmb.rkey`]: hex32(rkey),
    [`${own}.tcp.conn.index`]: String(rmbeIndex),
    [`${element}.rmb.element.alert.token`]: hex32(alertToken),
    [`${role}.flags.2`]: hex8(rmbeSize * 16 + mtu),
    [`${element}.rmb.virtual.address`]: hex64(address),
    [accept ? "accept.initial.psn" : "initial.psn"]: hex24(psn),
  };
}

function declineFields({ version, outOfSync, peerId, diagnosis, os }: Decline): Expected {
  const words = version === 1 ? [diagnosis] : [diagnosis, 0, 0, 0, 0];
  return {
    "decline.smc.version": String(version),
    "decline.osync": bit(outOfSync),
    "sender.peer.id": number64(peerId),
    "peer.diag.info": words.map(hex32),
    ...(version === 1 ? {} : { "decline.os.type": String(os) }),
  };
}

/** The values of a whole message, given as its bytes. */
export function expectedFields(bytes: Uint8Array): Expected {
  const value = decodeClc(bytes);
  const type = { Proposal: "1", Accept: "2", Confirm: "3", Decline: "4" }[value.type];
  const common = { clc_msg: type, length: String(bytes.length) };
  if (value.type === "Proposal") return { ...common, ...proposalFields(value) };
  if (value.type === "Decline") return { ...common, ...declineFields(value) };
  return { ...common, ...(value.path === "D" ? smcdFields(value) : smcrFields(value)) };
}

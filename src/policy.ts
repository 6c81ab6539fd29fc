/**
 * Which connections may use SMC: switched on and off, by address and port, and by a function of the program, at any time.
 *
 * Owns the rules of a thread and their grammar. Knows nothing of sockets; who asks does so for each connection anew.
 */
import { BlockList, isIP } from "node:net";
import { SmcError } from "./errors.js";

/** One connection, as a rule sees it: the address and port of the server, as seen from the side that asks. */
export interface Target {
  readonly side: "client" | "server";
  readonly address: string;
  readonly port: number;
}

/** Says whether a connection may use SMC. It is asked before anything is tried, and must not throw. */
export type PolicyHook = (target: Target) => boolean;

/** What can be changed while the program runs; what is undefined stays as it is. */
export interface PolicyChange {
  readonly enabled?: boolean | undefined;
  readonly only?: readonly string[] | undefined;
  readonly except?: readonly string[] | undefined;
}

interface Rule {
  readonly addresses: BlockList | undefined;
  readonly from: number;
  readonly to: number;
}

const PORTS = /^(\d{1,5})(?:-(\d{1,5}))?$/;
/** An address that may be in brackets, bits of its prefix, ports. An IPv6 address with ports needs the brackets. */
const RULE =
  /^(?:\[([0-9a-fA-F:.]+)\]|([\d.]+)|([0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*))(?:\/(\d{1,3}))?(?::(.+))?$/;

function refuse(rule: string): never {
  throw new SmcError("EINVAL", `rule "${rule}" is neither PORT, ADDRESS, ADDRESS/BITS nor ADDRESS:PORT`, { rule });
}

function portsOf(rule: string, text: string): { from: number; to: number } {
  const [, first, last] = PORTS.exec(text) ?? refuse(rule);
  const [from, to] = [Number(first), Number(last ?? first)];
  if (from > to || to > 65_535) refuse(rule);
  return { from, to };
}

/** Errors: SmcError EINVAL with the rule. */
export function parseRule(rule: string): Rule {
  if (PORTS.test(rule)) return { addresses: undefined, ...portsOf(rule, rule) };
  if (rule.startsWith(":") && !rule.startsWith("::")) return { addresses: undefined, ...portsOf(rule, rule.slice(1)) };
  const [, bracketed, four, six, bits, ports] = RULE.exec(rule) ?? refuse(rule);
  const address = bracketed ?? four ?? six ?? "";
  const version = isIP(address);
  const longest = version === 6 ? 128 : 32;
  const prefix = bits === undefined ? longest : Number(bits);
  if (version === 0 || prefix > longest) refuse(rule);
  const addresses = new BlockList();
  addresses.addSubnet(address, prefix, version === 6 ? "ipv6" : "ipv4");
  return { addresses, ...(ports === undefined ? { from: 0, to: 65_535 } : portsOf(rule, ports)) };
}

const matches = ({ addresses, from, to }: Rule, { address, port }: Target): boolean =>
  port >= from &&
  port <= to &&
  (addresses === undefined || addresses.check(address, address.includes(":") ? "ipv6" : "ipv4"));

/** The rules of a thread. */
export class Policy {
  #enabled = true;
  #only: readonly string[] = [];
  #except: readonly string[] = [];
  #onlyRules: readonly Rule[] = [];
  #exceptRules: readonly Rule[] = [];
  #hook: PolicyHook | undefined;
  /** No rule has anything against any connection. */
  #open = true;

  /** Errors: SmcError EINVAL, and nothing is changed. */
  change({ enabled = this.#enabled, only = this.#only, except = this.#except }: PolicyChange): void {
    const rules = [only.map(parseRule), except.map(parseRule)] as const;
    this.#enabled = enabled;
    [this.#only, this.#except] = [[...only], [...except]];
    [this.#onlyRules, this.#exceptRules] = rules;
    this.#look();
  }

  /** The program's own say, after the rules; undefined for none. */
  set hook(hook: PolicyHook | undefined) {
    this.#hook = hook;
    this.#look();
  }

  #look(): void {
    this.#open = this.#enabled && this.#hook === undefined && this.#onlyRules.length + this.#exceptRules.length === 0;
  }

  get state(): Required<PolicyChange> & { readonly hook: boolean } {
    return { enabled: this.#enabled, only: this.#only, except: this.#except, hook: this.#hook !== undefined };
  }

  /** Whether a connection to this address and port may use SMC. */
  permits(side: Target["side"], address: string, port: number): boolean {
    if (this.#open) return true;
    if (!this.#enabled) return false;
    const target = { side, address, port };
    if (this.#onlyRules.length > 0 && !this.#onlyRules.some((rule) => matches(rule, target))) return false;
    if (this.#exceptRules.some((rule) => matches(rule, target))) return false;
    return this.#hook?.(target) ?? true;
  }
}

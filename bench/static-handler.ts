/**
 * An ordinary `http` handler that serves the files under a folder. It knows of nothing but `http` and the file system.
 *
 * Files are kept in memory once they were read, as static servers in production do; nothing is listed, nothing written.
 */
import { readFile } from "node:fs/promises";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { join, normalize, sep } from "node:path";

/** The handler for `root`. Answers 200, 404 for what is not a file below it, 405 for other methods than GET and HEAD. */
export function staticHandler(root: string): RequestListener {
  const files = new Map<string, Buffer>();

  async function load(url: string): Promise<Buffer | undefined> {
    const kept = files.get(url);
    if (kept) return kept;
    try {
      const path = normalize(join(root, decodeURIComponent(new URL(url, "http://localhost").pathname)));
      if (!path.startsWith(root + sep)) return undefined;
      const content = await readFile(path);
      files.set(url, content);
      return content;
    } catch {
      return undefined;
    }
  }

  async function serve({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    if (method !== "GET" && method !== "HEAD") return void response.writeHead(405, { allow: "GET, HEAD" }).end();
    const content = await load(url ?? "/");
    if (!content) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": content.length });
    response.end(method === "GET" ? content : undefined);
  }

  return (request, response) => void serve(request, response);
}

/** Core's http client, as most programs use it. */
import http, { type IncomingHttpHeaders } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export const keepAliveAgent = (maxSockets: number): http.Agent => new http.Agent({ keepAlive: true, maxSockets });

/** GET, or POST where there is a body. */
export function ask(agent: http.Agent, port: number, path: string, body?: Uint8Array): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const headers = body === undefined ? {} : { "content-type": "application/octet-stream" };
    const options = { agent, port, host: "127.0.0.1", path: encodeURI(path), method, headers };
    const request = http.request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

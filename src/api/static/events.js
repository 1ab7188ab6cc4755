// Reads server-sent events as they come.

const SILENCE_MS = 45000; // the server sends a sign of life each 15 seconds

/** The connection ended in the middle, or nothing came over it any more. */
export class Broken extends Error {}

/** Events of a stream as `{id, name, data}`; throws Broken where the connection does not hold. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await next(reader);
      if (done) return;
      buffer += value.replaceAll("\r\n", "\n");
      let end;
      while ((end = buffer.indexOf("\n\n")) >= 0) {
        const found = parse(buffer.slice(0, end));
        buffer = buffer.slice(end + 2);
        if (found) yield found;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function next(reader) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Broken("silent")), SILENCE_MS);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Broken(error.message);
  } finally {
    clearTimeout(timer);
  }
}

function parse(block) {
  let name = "message";
  let id = null;
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { id, name, data: JSON.parse(data.join("\n")) } : null;
}

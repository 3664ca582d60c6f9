// OpenAI's client for Node: whole, streamed, and with a schema.
import { baseURL, each, jsonPrompts, model, prompts, schema, show } from "./common.mjs";
import { createRequire } from "node:module";

const OpenAI = createRequire(process.env.CLIENT_HOME + "/")("openai").default;
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const asks = (prompt) => ({ model, messages: [{ role: "user", content: prompt }] });

async function whole(prompt) {
  return (await client.chat.completions.create(asks(prompt))).choices[0].message.content;
}

async function streamed(prompt) {
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...asks(prompt), stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return text;
}

async function parsed(prompt) {
  const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
  const { message } = (await client.chat.completions.parse({ ...asks(prompt), response_format })).choices[0];
  return message.parsed ? message.parsed : { refusal: message.refusal };
}

show({
  whole: await each(prompts, whole),
  streamed: await each(prompts, streamed),
  parsed: await each(jsonPrompts, parsed),
});

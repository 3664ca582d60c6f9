// Vercel's AI SDK with its OpenAI-compatible provider: whole and streamed.
import { baseURL, each, model, prompts, show } from "./common.mjs";
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_HOME + "/");
const { generateText, streamText } = require("ai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const chat = createOpenAICompatible({ name: "idk", baseURL, apiKey: "none" })(model);

async function whole(prompt) {
  return (await generateText({ model: chat, prompt, maxRetries: 0 })).text;
}

async function streamed(prompt) {
  let text = "";
  for await (const piece of streamText({ model: chat, prompt, maxRetries: 0 }).textStream) text += piece;
  return text;
}

show({ whole: await each(prompts, whole), streamed: await each(prompts, streamed) });

// What every script asks for; see python/common.py.
export const baseURL = process.argv[2];
export const model = "gated";
export const prompts = { answer: "the sure question", abstain: "the unsure question" };
export const jsonPrompts = { answer: "the sure question in JSON", abstain: "the unsure question in JSON" };
export const schema = {
  type: "object",
  properties: { name: { type: "string" } },
  required: ["name"],
  additionalProperties: false,
};

export async function each(cases, ask) {
  const got = {};
  for (const [name, prompt] of Object.entries(cases)) got[name] = await ask(prompt);
  return got;
}

export function show(cases) {
  console.log(JSON.stringify(cases));
}

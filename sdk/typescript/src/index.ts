export {
  type Answer,
  type Client,
  type ClientOptions,
  createClient,
  type Token,
  unwrap,
} from "./client.js";
export { ArklowError, type ErrorAnswer, type ErrorCode, type ErrorCodeOf, retryAfter, UnexpectedAnswerError } from "./errors.js";
export type * from "./schema.js";

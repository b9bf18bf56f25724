// What ESLint holds the pages' scripts to; tests/test_scripts.py runs it.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser } },
    rules: {
      eqeqeq: "error",
      "no-shadow": ["error", { allow: ["_"] }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["book/static/*.js"], languageOptions: { sourceType: "script" } },
  { files: ["faithnb/widgets/js/worker.js"], languageOptions: { globals: { ...globals.worker } } },
];

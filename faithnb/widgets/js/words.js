// What the benchmark's page says: numbers, lenses and differences.

export const AXES = { l0: "L0", fvu: "FVU" };

/** Objects from the columns of a table. */
export function rowsOf(columns) {
  const names = Object.keys(columns);
  const rows = columns[names[0]] ?? [];
  return rows.map((_, k) => Object.fromEntries(names.map((name) => [name, columns[name][k]])));
}

/** A number to three digits. */
export function shown(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1);
  return `${Number(value.toPrecision(3))}`;
}

/** What a lens says of a column on one task, or on how many of several it is satisfied. */
export function lensesInWords(lens, lenses) {
  const why = (of) =>
    of.reasons.filter((reason) => reason.startsWith(lens) || !reason.includes(":"));
  if (!lenses.length) return { text: "", bad: false, why: "" };
  if (lenses.length > 1) {
    const good = lenses.filter((of) => !why(of).length).length;
    return { text: `${good} of ${lenses.length}`, bad: good === 0, why: "" };
  }
  const [of] = lenses;
  const reasons = why(of);
  const bad = reasons.length > 0;
  const value = {
    noise: of.noise === null ? "–" : `${Math.round(100 * of.noise)} %`,
    order: of.correlation === null ? "–" : shown(of.correlation),
    training: shown(of.trend),
  }[lens];
  return { text: bad ? `${value} fails` : value, bad, why: reasons.join("; ") };
}

/** A difference between two recipes at equal L0 or FVU, as a sentence. */
export function differenceInWords(d, least) {
  if (d.seeds < least)
    return `${d.first} and ${d.second}: ${d.seeds} seeds of both come to the same ${AXES[d.axis]}, and ${least} are needed.`;
  const down = d.mean < 0;
  const [low, high] = down ? [-d.high, -d.low] : [d.low, d.high];
  const size = `${shown(Math.abs(d.mean))} [${shown(low)}, ${shown(high)}]`;
  const [lower, higher] = down ? [d.first, d.second] : [d.second, d.first];
  if (d.decided) {
    const better = d.better ? ` ${d.better} is better.` : "";
    return `${lower} has less ${d.column} than ${higher}, by ${size}.${better}`;
  }
  return `${lower} and ${higher}: the difference is ${size}; one of ${shown(d.decidable)} would be found four times in five.`;
}

/** Rows as a file for spreadsheets: means, and the ends of their intervals. */
export function csv(fixed, columns, every, rows) {
  const quoted = (value) => {
    const text = `${value ?? ""}`;
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const ends = ({ name }) => [name, `${name} low`, `${name} high`];
  const head = [...fixed, "failed", ...columns.flatMap(ends)];
  const lines = rows.map((row) => [
    ...fixed.map((name) => row[name]),
    row.failed,
    ...columns.flatMap(({ name }) => {
      const value = row.values[every.findIndex((c) => c.name === name)] ?? [];
      return [0, 1, 2].map((k) => value[k] ?? "");
    }),
  ]);
  return [head, ...lines].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
}

export function Plots() { return ""; }

// The toolbox beside the page, and what the address asks for.
tools.append(
  element("div", { className: "search" }, field, results),
  namesOf.size ? choice : "",
  element("div", { className: "switches" }, themes, printing),
);
current();
arrive();
if (address().model && wordsOf.has(address().model)) pick(wordsOf.get(address().model));

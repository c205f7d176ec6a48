// What Sphinx's search adds for each kind of hit, and what a page of the reference loses; see search_order.py.
var Scorer = {
  score: ([page, title, anchor, text, score]) => score - (page.startsWith("reference/") ? 10 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 5, 1: 5, 2: -5 }, // modules; classes and functions; what is seldom looked for
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

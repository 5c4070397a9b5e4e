/**
 * Tabs according to the ARIA Authoring Practices: arrow keys, Home and End move, and one tab is in the page's tab order.
 *
 * @param {HTMLElement} list
 * @param {(id: string) => void} onSelect
 */
export function serveTabs(list, onSelect) {
  const tabs = [...list.querySelectorAll('[role=tab]')].filter((tab) => tab instanceof HTMLElement);

  /** @param {HTMLElement} chosen */
  const select = (chosen) => {
    for (const tab of tabs) {
      const selected = tab === chosen;
      tab.setAttribute('aria-selected', String(selected));
      tab.tabIndex = selected ? 0 : -1;
      const panel = document.getElementById(tab.getAttribute('aria-controls') ?? '');
      if (panel) panel.hidden = !selected;
    }
    onSelect(chosen.id);
  };

  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      const next = tabs.at(to % tabs.length);
      if (!next) return;
      event.preventDefault();
      select(next);
      next.focus();
    });
  }
  return {
    /** @param {string} id */
    open(id) {
      const tab = tabs.find((each) => each.id === id);
      if (tab) select(tab);
    },
  };
}

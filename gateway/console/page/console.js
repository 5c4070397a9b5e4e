import { serveEchoTab } from './echoTab.js';
import { find } from './find.js';
import { serveRoomTab } from './roomTab.js';
import { serveTabs } from './tabs.js';

const status = find('status', HTMLElement);
serveTabs(find('tab-room', HTMLElement).parentElement ?? document.body, (id) => {
  // The status is that of the room's connection.
  status.hidden = id !== 'tab-room';
});
serveEchoTab();
// Last: the tabs above work while the settings are fetched.
serveRoomTab(await (await fetch('/console.json')).json());

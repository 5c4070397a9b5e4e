import { serveEchoTab } from './echoTab.js';
import { find } from './find.js';
import { serveRoomTab } from './roomTab.js';
import { serveTabs } from './tabs.js';

const status = find('status', HTMLElement);
serveTabs(find('tab-room', HTMLElement).parentElement ?? document.body, (id) => {
  // It is of the room's connection.
  status.hidden = id !== 'tab-room';
});
serveEchoTab();
// Last: what is above works while this is fetched.
serveRoomTab(await (await fetch('/console.json')).json());

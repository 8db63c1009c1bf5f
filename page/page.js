// What the page does in the browser and gradio has no option for. Its events call these functions by name: see app.py.
window.colorizerPage = (() => {
    // Of photos that are given, one alone is on its way: what comes before it is shown is told to come again. Of those
    // that are being colored, given or picked, there may be several.
    const state = {isGiven: false, underWay: 0};

    const notice = (text) => {  // until the next photo
        document.querySelector('#notice').textContent = text;
    };

    const forgetSize = (image) => {
        delete image.naturalWidth;
        delete image.naturalHeight;
    };

    // -------------------------------------------------------------------------- once, when the page is there

    const start = (examples, kinds) => {
        nameExamples(examples);
        tellReaders();
        hearDialsAndPicker();
        placeCorrections();
        correctByKeys();
        warnBeforeLeaving();
        makeOneFileAtATime();
        askWhileWaiting();
        keepSizes();
        pickByFinger();
        takePhotosAnywhere(kinds);
        tellRefusals();
        leaveThePageItsScrolling();
    };

    // As soon as the page has drawn the examples' buttons, or not at all after ten seconds.
    const nameExamples = (examples) => {
        const name = (tries) => {
            const photos = document.querySelectorAll('#photographs .gallery-item');
            const digits = document.querySelectorAll('#digits .gallery-item');
            if (!(photos.length && digits.length) && tries) return setTimeout(name, 100, tries - 1);
            photos.forEach((item, i) => item.setAttribute('aria-label', 'Color the example: ' + examples[i]));
            digits.forEach((item, i) => item.setAttribute('aria-label', 'Paint the example: ' + i));
        };
        name(100);
    };

    // What readers of the screen are not told: what is open, which photo is shown, what a second place for one is for.
    const tellReaders = () => {
        const tell = () => {
            for (const button of document.querySelectorAll('button.label-wrap')) {
                button.ariaExpanded = button.classList.contains('open');
                button.querySelector('.icon')?.setAttribute('aria-hidden', 'true');
            }
            for (const button of document.querySelectorAll('#strip .thumbnail-item'))
                button.ariaCurrent = button.classList.contains('selected');
            const reference = document.querySelector('#reference button:has(h2)');
            if (reference) reference.ariaLabel = 'A photo in color: drop it here, or click to choose one';
        };
        const changes = {subtree: true, childList: true, attributeFilter: ['class']};
        new MutationObserver(tell).observe(document.body, changes);
    };

    // gradio's dials tell that they were let go by pointers alone, and its color picker stays open.
    const hearDialsAndPicker = () => {
        document.addEventListener('keyup', (event) => {
            const dial = event.target;
            if (!dial.matches('input[type=range]') || !/^(Arrow|Page|Home|End)/.test(event.key)) return;
            dial.dispatchEvent(new PointerEvent('pointerup', {bubbles: true}));
        });
        document.addEventListener('keydown', (event) => {
            const open = event.target.closest?.('#picker')?.querySelector('.color-picker');
            if (!open || !['Escape', 'Enter'].includes(event.key)) return;
            open.parentNode.querySelector('.dialog-button').click();
        });
    };

    // A ring at once, until the picture with its own is there. And gradio takes an enlarged picture for one of its own
    // size in the middle of that place: it is told where the click would have been on that.
    const placeCorrections = () => {
        let isMoved = false;
        document.addEventListener('click', (event) => {
            const image = event.target, canvas = image.matches?.('#canvas img') && image.closest('#canvas');
            if (!canvas || !image.naturalWidth || isMoved) return;
            event.stopImmediatePropagation();
            const {x, y} = canvas.getBoundingClientRect(), place = image.getBoundingClientRect();
            const ring = document.createElement('i');
            ring.className = 'ring';
            ring.style.left = event.clientX - x - canvas.clientLeft + 'px';
            ring.style.top = event.clientY - y - canvas.clientTop + 'px';
            ring.style.background = getComputedStyle(document.querySelector('#picker .dialog-button')).backgroundColor;
            canvas.append(ring);
            const moved = (at, start, length, own) => {
                const taken = Math.min(own, length), share = (at - start) / length;
                const within = Math.min(Math.max(share * taken, 1), taken - 1.5);  // of whole pixels, none is outside
                return Math.round(start + (length - taken) / 2 + within);
            };
            const clientX = moved(event.clientX, place.x, place.width, image.naturalWidth);
            const clientY = moved(event.clientY, place.y, place.height, image.naturalHeight);
            isMoved = true;
            image.dispatchEvent(new MouseEvent('click', {bubbles: true, view: window, clientX, clientY}));
            isMoved = false;
        }, true);
    };

    const correctByKeys = () => {
        let cross;  // where it stands, in shares of the picture
        document.addEventListener('keydown', (event) => {
            const canvas = event.target.closest?.('#canvas'), image = event.target.querySelector?.('img');
            const by = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
            const isEnter = ['Enter', ' '].includes(event.key);
            const isOther = !by && !isEnter || event.altKey || event.ctrlKey || event.metaKey;
            if (!canvas || !image?.naturalWidth || isOther) return;
            event.preventDefault();  // the page would move, or the button be clicked where the mouse is not
            let mark = canvas.querySelector('.cross');
            const isSeen = !!mark;
            if (!isSeen) {
                mark = document.createElement('i');
                mark.className = 'cross';
                canvas.append(mark);
                cross ??= [0.5, 0.5];
            } else if (by) {
                const step = event.shiftKey ? 0.004 : 0.02;
                cross = cross.map((at, axis) => Math.min(Math.max(at + step * by[axis], 0), 0.9999));
            }
            const place = () => {
                const {x, y, width, height} = image.getBoundingClientRect();
                return [x + cross[0] * width, y + cross[1] * height];
            };
            const {x, y} = canvas.getBoundingClientRect();
            mark.style.left = place()[0] - x - canvas.clientLeft + 'px';
            mark.style.top = place()[1] - y - canvas.clientTop + 'px';
            mark.scrollIntoView({block: 'nearest', behavior: 'instant'});
            if (!isEnter || !isSeen || event.repeat) return;
            const [clientX, clientY] = place();
            image.dispatchEvent(new MouseEvent('click', {bubbles: true, view: window, clientX, clientY}));
        }, true);
        document.addEventListener('keyup', (event) => {  // where a space clicks a button as it is let go
            if (event.key == ' ' && event.target.closest?.('#canvas')) event.preventDefault();
        }, true);
        document.addEventListener('focusout', (event) => {
            event.target.closest?.('#canvas')?.querySelector('.cross')?.remove();
        });
    };

    // What the server keeps for this visit is lost with the page: more than one photo, and colors given by hand. Where
    // the connection was lost gradio loads the page anew, and there is no other way on.
    const warnBeforeLeaving = () => {
        window.addEventListener('beforeunload', (event) => {
            const all = (part) => [...document.querySelectorAll(part)];
            const says = (part, word) => all(part).some((at) => at.textContent.includes(word));
            const isAlbum = all('#strip .thumbnail-item').length > 1 || says('#album-line', 'Coloring');
            const isCorrected = all('#undo:not([disabled])').length;
            if ((isAlbum || isCorrected) && !says('.toast-body', 'Connection')) event.preventDefault();
        });
    };

    const makeOneFileAtATime = () => {
        document.addEventListener('click', (event) => {  // by a key, too, while one is made
            if (event.target.closest?.('#download[aria-busy]')) event.stopImmediatePropagation();
        }, true);
    };

    // The server hears an event that begins while word is on its way here that it has closed the stream, but gradio's
    // client waits for the answer on the closed one until another event opens the next. What is seen to wait, a ring
    // or the download, asks for that, and again, since that may be held up likewise; of dials, guesses and buttons
    // nothing is seen, so that they ask twice.
    const askWhileWaiting = () => {
        let asking, questions = 0;
        for (const type of ['click', 'input']) document.addEventListener(type, (event) => {
            if (!event.target.closest?.('#canvas img, #result :is(input, button)')) return;
            questions = 2;
            clearTimeout(asking);
            asking = setTimeout(ask, 5000, 10000);
        });
        const ask = (wait) => {
            if (questions-- <= 0 && !document.querySelector('#canvas .ring, #download[aria-busy]')) return;
            document.querySelector('#ask').click();
            asking = setTimeout(ask, wait, 2 * wait);
        };
    };

    // While the next picture is on its way Chromium shows the last one and calls its size 0: gradio would find no
    // place in it. So the last one's size stays.
    const keepSizes = () => {
        document.addEventListener('load', (event) => {
            const image = event.target;
            if (!image.matches?.('#canvas img')) return;
            forgetSize(image);
            const sizes = {naturalWidth: image.naturalWidth, naturalHeight: image.naturalHeight};
            for (const side in sizes) Object.defineProperty(image, side, {value: sizes[side], configurable: true});
            image.style.setProperty('--ratio', image.naturalWidth / image.naturalHeight);  // see style.css
        }, true);
    };

    // The color picker knows the mouse alone.
    const pickByFinger = () => {
        const asMouse = {touchstart: 'mousedown', touchmove: 'mousemove', touchend: 'mouseup', touchcancel: 'mouseup'};
        for (const type in asMouse) document.addEventListener(type, (event) => {
            const part = event.target.closest?.('#picker :is(.color-gradient, .hue-slider)');
            if (!part) return;
            const {clientX, clientY} = event.changedTouches[0];
            const options = {bubbles: true, view: window, clientX, clientY};
            (type == 'touchstart' ? part : window).dispatchEvent(new MouseEvent(asMouse[type], options));
        }, {passive: true});
    };

    // A photo can be dropped and pasted anywhere. Some systems tell the browser no kind for some of these files, and
    // gradio would refuse them.
    const takePhotosAnywhere = (kinds) => {
        const typed = (file) => {
            const kind = kinds[file.name.split('.').pop().toLowerCase()];
            return file.type || !kind ? file : new File([file], file.name, {type: 'image/' + kind});
        };
        const put = (files, input) => {
            const transfer = new DataTransfer();
            for (const file of files) transfer.items.add(typed(file));
            input.files = transfer.files;
        };
        const give = (files, tries = 20) => {
            const place = files.length > 1 ? '#several' : '#photo';
            const input = document.querySelector(place + ' input[type=file]');
            if (state.isGiven || !(input || tries)) return notice('Another photo is on its way: give this one again.');
            if (!input) {  // the clipboard is in its place, or a file that is being uploaded
                if (tries == 20) document.querySelector('#photo .source-selection button')?.click();
                return setTimeout(give, 100, files, tries - 1);
            }
            notice('');
            put(files, input);
            input.dispatchEvent(new Event('change', {bubbles: true}));
        };
        document.addEventListener('change', (event) => {
            const other = event.target.matches?.('#reference input[type=file]') && event.target.files[0];
            if (other && typed(other) !== other) put([other], event.target);
            const isPlace = event.target.matches?.(':is(#photo, #several) input[type=file]');
            const files = isPlace ? [...event.target.files] : [];
            if (files.length > 1) notice(`${files.length} photos: the first is shown when all have arrived.`);
            if (!files.length || !state.isGiven && files.every((file) => typed(file) === file)) return;
            event.stopImmediatePropagation();
            give(files);
        }, true);
        let isOurs = false;  // the browser takes an example's picture that is dragged for a file, too
        window.addEventListener('dragstart', () => { isOurs = true; });
        window.addEventListener('dragend', () => { isOurs = false; });
        window.addEventListener('dragover', (event) => {
            if (event.dataTransfer.types.includes('Files') && !isOurs) event.preventDefault();
        });
        window.addEventListener('drop', (event) => {
            const files = [...event.dataTransfer.files], own = event.target.closest?.('#photo');
            if (!files.length || isOurs) return isOurs = false;
            const other = event.target.closest?.('#reference'), input = other?.querySelector('input[type=file]');
            if (other) {
                event.preventDefault();
                event.stopPropagation();
                event.target.dispatchEvent(new DragEvent('dragleave', {bubbles: true}));
                if (!input) return notice('Another photo is on its way: give this one again.');
                put([files[0]], input);
                return input.dispatchEvent(new Event('change', {bubbles: true}));
            }
            event.preventDefault();  // the browser would leave the page for it
            if (own && !state.isGiven && files.length == 1 && typed(files[0]) === files[0]) return;
            event.stopPropagation();
            if (own) event.target.dispatchEvent(new DragEvent('dragleave', {bubbles: true}));
            give(files);
        }, true);
        document.addEventListener('paste', (event) => {
            const files = [...event.clipboardData.files], isWriting = event.target.closest?.('input, textarea');
            if (isWriting && (!files.length || event.clipboardData.types.includes('text/plain'))) return;
            if (!files.length) return notice('There is no picture on the clipboard.');
            event.preventDefault();
            give(files);
        });
    };

    const tellRefusals = () => {
        let asked = '';  // for what: the clipboard or the camera
        document.addEventListener('click', (event) => {
            asked = event.target.closest?.('#photo .source-selection button')?.ariaLabel ?? asked;
        }, true);
        window.addEventListener('unhandledrejection', (event) => {
            const said = {
                camera: {
                    NotFoundError: 'There is no camera here: choose a photo instead.',
                    NotReadableError: 'The camera is in use by another program.',
                    NotAllowedError: 'The browser does not let this page use the camera.',
                },
                clipboard: {
                    NotAllowedError: 'The browser does not let this page read the clipboard: press Ctrl+V instead.',
                },
            }[/camera|clipboard/.exec(asked)?.[0]]?.[event.reason?.name];
            if (!said) return;
            event.preventDefault();
            notice(said);
        });
    };

    // Over the pictures a wheel and a finger move the page, until two fingers or the Ctrl key have enlarged them.
    const leaveThePageItsScrolling = () => {
        const isWhole = (event) => {
            const pictures = event.target.closest?.('#compare');
            if (!pictures || pictures.classList.contains('fullscreen')) return false;
            const transform = getComputedStyle(pictures.querySelector('img') ?? pictures).transform;
            return transform == 'none' || transform == 'matrix(1, 0, 0, 1, 0, 0)';
        };
        window.addEventListener('wheel', (event) => {
            if (!event.ctrlKey && isWhole(event)) event.stopPropagation();
        }, {capture: true, passive: true});
        window.addEventListener('touchstart', (event) => {
            const isHandle = event.target.closest?.('.outer');
            if (event.touches.length == 1 && !isHandle && isWhole(event)) event.stopPropagation();
        }, {capture: true, passive: true});
    };

    // -------------------------------------------------------------------------------- while photos are colored

    // While another photo is on its way, what belongs to the one that is shown must not be taken for its.
    const setAside = (isAside) => {
        document.querySelectorAll('#result, #all').forEach((part) => part.toggleAttribute('inert', isAside));
    };

    const wait = () => {
        notice('');
        document.querySelectorAll('.toast-close').forEach((button) => button.click());
        setAside(true);
    };

    const given = () => {
        state.isGiven = true;
        wait();
    };

    const taken = () => {
        state.isGiven = false;
    };

    // At every photo that is colored: one that was picked while another was on its way comes after that is shown.
    const begin = (...inputs) => {
        state.underWay += 1;
        setAside(true);
        return inputs;
    };

    const goOn = () => {
        state.underWay -= 1;  // also what has come to be shown meanwhile waits for the next
        setAside(state.underWay > 0);
    };

    // The handle between the pictures is moved as a mouse would.
    const moveByKeys = (pictures, handle) => {
        if (!handle || handle.tabIndex == 0) return;
        const center = (part) => part.getBoundingClientRect().x + part.getBoundingClientRect().width / 2;
        const tell = () => handle.setAttribute('aria-valuenow', Math.round(
            100 * (center(handle) - pictures.getBoundingClientRect().x) / pictures.clientWidth));
        handle.tabIndex = 0;
        const says = {role: 'slider', 'aria-label': 'From the photo in gray to the photo in color',
            'aria-valuemin': 0, 'aria-valuemax': 100};
        for (const key in says) handle.setAttribute(key, says[key]);
        handle.addEventListener('focus', tell);
        handle.addEventListener('keydown', (event) => {
            const from = center(handle), ends = pictures.getBoundingClientRect(), step = ends.width / 20;
            const to = {ArrowLeft: from - step, ArrowRight: from + step, Home: ends.left, End: ends.right}[event.key];
            if (to === undefined) return;
            event.preventDefault();
            for (const [target, type, clientX] of [
                [handle, 'mousedown', from], [window, 'mousemove', to], [window, 'mouseup', to]
            ]) target.dispatchEvent(new MouseEvent(type, {bubbles: true, cancelable: true, view: window, clientX}));
        });
        window.addEventListener('mouseup', () => setTimeout(tell, 50), true);  // later ones are not told
    };

    const show = (tries) => {
        const images = document.querySelectorAll('#result .slider-wrap img');
        if (images.length < 2 && tries) return setTimeout(show, 100, tries - 1);
        images.forEach((image, i) => image.alt = i ? 'The photo in color' : 'The photo in gray');
        moveByKeys(document.querySelector('#result .slider-wrap'), document.querySelector('#result .outer'));
        const place = document.querySelector('#album') ?? document.querySelector('#result');
        place?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
    };

    const showResult = () => {
        goOn();
        document.querySelectorAll('#canvas .ring').forEach((ring) => ring.remove());
        const canvas = document.querySelector('#canvas img');
        if (canvas && !canvas.complete) forgetSize(canvas);  // it is another photo's
        const upload = document.querySelector('#photo .source-selection button');  // the first of three
        const isOther = upload && !upload.classList.contains('selected');
        if (isOther) setTimeout(() => upload.click());  // or the camera goes on
        show(100);
    };

    // A photo that was colored anew may be above what the window shows.
    const showChoice = () => {
        document.querySelector('#result .slider-wrap')?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
    };

    const corrected = () => document.querySelector('#canvas .ring')?.remove();  // the first: clicks are heard in order

    const showTop = () => {
        window.scrollTo({top: 0, behavior: 'smooth'});
        if (document.querySelector('#another:focus-visible'))  // by a key: the next one is for the photo
            document.querySelector('#photo button')?.focus({preventScroll: true});
    };

    // ----------------------------------------------------------------------------------------------- downloads

    const make = () => document.querySelector('#download').setAttribute('aria-busy', 'true');
    const made = () => document.querySelector('#download').removeAttribute('aria-busy');

    const download = (file) => {
        const link = document.createElement('a');
        link.href = file.url;
        link.download = file.orig_name;
        document.body.append(link);
        link.click();
        link.remove();
    };

    // What is shown, to be shown to others: side by side, or one above the other if the photo is wide.
    const downloadPair = (path) => {
        const images = [...document.querySelectorAll('#compare .slider-wrap img')];
        if (images.length < 2 || !images.every((image) => image.complete && image.naturalWidth))
            return notice('The picture is on its way: ask for it again.');
        const {naturalWidth: width, naturalHeight: height} = images[1];
        const isWide = width > height, gap = Math.ceil(Math.max(width, height) / 100);
        const [right, down] = isWide ? [0, height + gap] : [width + gap, 0];
        const both = Object.assign(document.createElement('canvas'), {width: width + right, height: height + down});
        const brush = both.getContext('2d');
        brush.fillStyle = '#fff';
        brush.fillRect(0, 0, both.width, both.height);
        images.forEach((image, i) => brush.drawImage(image, i * right, i * down, width, height));
        const name = path.split(/[\\/]/).pop().replace(/\.[^.]*$/, '') + '.before-after.jpg';
        both.toBlob((file) => {
            const url = URL.createObjectURL(file);
            download({url, orig_name: name});
            setTimeout(() => URL.revokeObjectURL(url), 60000);
        }, 'image/jpeg', 0.92);
    };

    // -------------------------------------------------------------------------------- what takes several steps

    // What takes long goes on a step at a time, and others are served in between. A step that did not begin, since the
    // line was full, is tried again a little later. (Where the network is away gradio itself loads the page anew.)
    const steps = (button, advice) => {
        let failed = 0;
        const next = () => document.querySelector(button).click();
        return {
            next: (left) => {
                failed = 0;
                if (left) next();
            },
            later: () => {
                failed += 1;
                if (failed < 10) setTimeout(next, 5000 * failed);
                else notice(`The server is too busy: ${advice} to go on.`);
            },
        };
    };
    const coloring = steps('#next', 'click a small picture');
    const packing = steps('#pack-next', 'click Packing');

    const packNext = (left, file) => {
        packing.next(left);
        if (!left && file) download(file);
    };

    return {
        state, start, wait, given, taken, begin, goOn, showResult, showChoice, corrected, showTop,
        make, made, download, downloadPair, next: coloring.next, nextLater: coloring.later, packNext,
        packLater: packing.later,
    };
})();
